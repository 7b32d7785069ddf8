"""The training image nearest to a sample in pixelwise L2: exact, over a data set that need not fit in memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def nearest(samples: np.ndarray, training: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """For each of the samples [n, H, W, C], the nearest of the training images and their distance.

    |q - x|^2 = |q|^2 - 2 q.x + |x|^2 makes a matrix product of each chunk; float64 keeps the cancellation some twelve
    orders of magnitude below a pixel. Of images that are equally near, the first is taken.

    Args:
      samples: in [0, 1].
      training: chunks [m, H, W, C] of them, one of which is in memory at a time.

    Returns:
      The images [n, H, W, C] as they came, and the distances [n].

    Raises:
      ValueError: where there is no training image, or one has another size than the samples.
    """
    queries = samples.reshape(len(samples), -1).astype(np.float64)
    least = np.full(len(queries), np.inf)
    found: np.ndarray | None = None
    for chunk in training:
        if chunk.shape[1:] != samples.shape[1:]:
            raise ValueError(f"The training images are {chunk.shape[1:]}, the samples {samples.shape[1:]}.")
        images = chunk.reshape(len(chunk), -1).astype(np.float64)
        # Without |q|^2, which is the same for every image.
        relative = np.einsum("md,md->m", images, images) - 2 * queries @ images.T
        best = relative.argmin(axis=1)
        value = relative[np.arange(len(queries)), best]
        nearer = value < least
        least[nearer] = value[nearer]
        if found is None:
            found = np.empty(samples.shape, chunk.dtype)
        found[nearer] = chunk[best[nearer]]
    if found is None:
        raise ValueError("There is no training image to compare the samples with.")
    return found, np.linalg.norm(queries - found.reshape(queries.shape), axis=1)
