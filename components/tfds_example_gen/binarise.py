"""Binarises one image as the task says."""

from __future__ import annotations

import hashlib

import numpy as np

from trainer.task import Binarisation

THRESHOLD = 127
"""The greatest intensity that Binarisation.THRESHOLD turns into 0."""


def binarise(image: np.ndarray, binarisation: Binarisation, *, seed: int, example_id: bytes) -> np.ndarray:
    """Returns the image, uint8 [H, W, C], with every pixel 0 or 1, or unchanged.

    STOCHASTIC depends on image, seed and id alone, so neither the number of workers nor the order in which they meet
    the examples can change it.

    Raises:
      ValueError: for GIVEN if a pixel is neither 0 nor 1; for STOCHASTIC_EACH_EPOCH, which is no rule for a split: see
        `Task.split_binarisation`.
    """
    if binarisation is Binarisation.NONE:
        return image
    if binarisation is Binarisation.GIVEN:
        if image.max() > 1:
            raise ValueError(
                f"a pixel is {image.max()}, but the task says that the data set is binarised already (GIVEN), so every "
                "pixel must be 0 or 1. Set the task's binarisation to threshold or stochastic for a grey data set."
            )
        return image
    if binarisation is Binarisation.THRESHOLD:
        return (image > THRESHOLD).astype(np.uint8)
    if binarisation is Binarisation.STOCHASTIC:
        return (_uniform_intensities(image.shape, seed, example_id) < image).astype(np.uint8)
    raise ValueError(f"{binarisation!r} is no rule for one split; take the one of Task.split_binarisation(split).")


def _uniform_intensities(shape: tuple[int, ...], seed: int, example_id: bytes) -> np.ndarray:
    """Draws whole numbers uniform over 0..254, uint64. One is below an intensity v with probability v / 255."""
    key = hashlib.sha256(f"{seed}:".encode() + example_id).digest()[:16]
    # Raw words of the bit generator: unlike Generator's methods, NumPy promises never to change them (NEP 19).
    words = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(int(np.prod(shape)))
    return (words % 255).reshape(shape)
