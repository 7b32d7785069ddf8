"""Binarises one image as the task says."""

from __future__ import annotations

import numpy as np

from serving.images.pixel_draws import draw_pixels
from trainer.task import Binarisation

THRESHOLD = 127
"""The greatest intensity that Binarisation.THRESHOLD turns into 0."""


def binarise(image: np.ndarray, binarisation: Binarisation, *, seed: int, example_id: bytes) -> np.ndarray:
    """Returns the image, uint8 [H, W, C], with every pixel 0 or 1, or unchanged.

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
        return draw_pixels(image, seed=seed, identity=example_id)
    raise ValueError(f"{binarisation!r} is no rule for one split; take the one of Task.split_binarisation(split).")
