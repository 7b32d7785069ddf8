"""What the tests of the batch job share: one model, and images of it in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.batch.model_source import SavedModelSource
from tests import tiny
from tests.serving.model_server import export_model

TASK = tiny.MODELS["attention"]
COUNT = 40


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the versions of a model of 7 x 5 images of 0 and 1."""
    return export_model(TASK, tmp_path_factory.mktemp("versions"))


@pytest.fixture(scope="session")
def model(versions: Path) -> SavedModelSource:
    """The version 3, the only one."""
    return SavedModelSource.from_directory(str(versions))


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """[40, 7, 5, 1] uint8 of 0 and 1; their ids are example-0 to example-39."""
    return tiny.make_images(TASK, COUNT)


@pytest.fixture(scope="session")
def examples(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the images as gzipped TFRecords, in five shards."""
    folder = tmp_path_factory.mktemp("examples")
    tiny.write_examples(folder, images, shards=5)
    return folder
