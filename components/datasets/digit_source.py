"""Loads the digits that data sets are composed of, and divides them among the splits."""

from __future__ import annotations

import dataclasses
import functools
import hashlib

import numpy as np
import tensorflow_datasets as tfds

from components.datasets.digits import digits_dataset_builder  # noqa: F401  registers the builder

BUILDERS = {"mnist": "mnist:3.0.1", "digits": "digits:1.0.0"}
"""TFDS's name for each source. `digits` comes with an installed package and needs no download."""

SIDE = 28
"""Rows and columns of a digit's image."""

VALIDATION_EVERY = 6
"""One in six of the source's training digits is for validation: 10,000 of MNIST's 60,000."""


@dataclasses.dataclass(frozen=True, eq=False)
class Digits:
    """The digits of one split, in an order that does not depend on the files that they were read from."""

    images: np.ndarray
    """[n, 28, 28] uint8."""
    labels: np.ndarray
    """[n] uint8."""

    def __len__(self) -> int:
        return len(self.labels)


def prepare(source: str, data_dir: str) -> str:
    """Returns the folder of the source's data set, and prepares it if it is not in TFDS's directory `data_dir`.

    Raises:
      RuntimeError: if it must be downloaded and cannot be.
    """
    builder = tfds.builder(BUILDERS[source], data_dir=data_dir)
    if not builder.data_path.exists():
        try:
            builder.download_and_prepare()
        except Exception as error:
            raise RuntimeError(
                f"The digits come from the data set {BUILDERS[source]!r}, which is not in {data_dir} and could not be "
                f"prepared there: {type(error).__name__}: {error}. Where there is no network, copy its folder there, "
                "or take the configuration whose name begins with `digits`."
            ) from error
    return str(builder.data_dir)


@functools.lru_cache(maxsize=3)
def load(directory: str, split: str) -> Digits:
    """Loads the digits of `train`, `validation` or `test` from the prepared data set in `directory`.

    No digit is in two splits: `test` has the source's test digits, and the other two divide its training digits by the
    order of their SHA-256.
    """
    source = tfds.builder_from_directory(directory)
    arrays = tfds.as_numpy(source.as_dataset(split="test" if split == "test" else "train", batch_size=-1))
    images, labels = arrays["image"][..., 0], arrays["label"].astype(np.uint8)
    digests = [
        hashlib.sha256(image.tobytes() + bytes([label])).digest() for image, label in zip(images, labels, strict=True)
    ]
    order = np.array(sorted(range(len(digests)), key=digests.__getitem__))
    if split != "test":
        validation = len(order) // VALIDATION_EVERY
        order = order[:validation] if split == "validation" else order[validation:]
    return Digits(images[order], labels[order])
