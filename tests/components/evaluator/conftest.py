"""What the tests of both evaluators share: the digits' test split, and one model of each kind."""

from __future__ import annotations

import numpy as np
import pytest
from tfx import types
from tfx.types import standard_artifacts

from tests.components import tiny_models
from tests.components.ingestion import by_id, records


@pytest.fixture(scope="session")
def images_and_labels(digits_examples: standard_artifacts.Examples) -> tuple[np.ndarray, np.ndarray]:
    """Images [500, 784], 0 or 1, and labels [500]."""
    features = by_id(records(digits_examples, "test")).values()
    images = np.stack([np.frombuffer(example["image"], np.uint8) for example in features])
    return images, np.array([example["label"] for example in features])


@pytest.fixture(scope="session")
def bound_model(tmp_path_factory: pytest.TempPathFactory) -> types.Artifact:
    return tiny_models.bound_model(tmp_path_factory.mktemp("model"), model_id=11)


@pytest.fixture(scope="session")
def error_model(tmp_path_factory: pytest.TempPathFactory) -> types.Artifact:
    """Is wrong about every seventh image or so."""
    return tiny_models.error_model(tmp_path_factory.mktemp("model"), 7, model_id=11)
