"""Exact nearest training images in pixelwise L2, over a data set that need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def nearest(samples: np.ndarray, training: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training image nearest to each sample [n, H, W, C], and its distance.

    |q - x|^2 = |q|^2 - 2 q.x + |x|^2 makes a matrix product of each chunk; float64 keeps the cancellation some twelve
    orders of magnitude below a pixel. Of images that are equally near, the first is taken.

    Args:
      samples: in [0, 1].
      training: chunks [m, H, W, C] of images, of which one is in memory at a time.

    Returns:
      The images [n, H, W, C] in the chunks' dtype, and the distances [n].

    Raises:
      ValueError: where there is no training image, or one has another size than the samples.
    """
    queries = samples.reshape(len(samples), -1).astype(np.float64)
    # Squared, less |q|^2, which is the same for every image.
    least = np.full(len(queries), np.inf)
    images: list[np.ndarray | None] = [None] * len(samples)
    for chunk in training:
        if chunk.shape[1:] != samples.shape[1:]:
            raise ValueError(f"The training images are {chunk.shape[1:]}, the samples {samples.shape[1:]}.")
        keys = chunk.reshape(len(chunk), -1).astype(np.float64)
        squares = np.einsum("md,md->m", keys, keys) - 2 * queries @ keys.T
        for row, column in enumerate(squares.argmin(axis=1)):
            if squares[row, column] < least[row]:
                least[row], images[row] = squares[row, column], chunk[column]
    if any(image is None for image in images):
        raise ValueError("There is no training image to compare the samples with.")
    neighbours = np.stack(images)  # type: ignore[arg-type]
    return neighbours, np.linalg.norm(queries - neighbours.reshape(queries.shape), axis=1)
