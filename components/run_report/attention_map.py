"""Where a grid of Gaussian filters looks: how its attention is spread over the pixels (Eqs. 19, 20, 25 and 26)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Coverage(NamedTuple):
    """Of the windows of several images."""

    by_step: np.ndarray
    """[T, H, W]: the share of a window's attention that falls on each pixel, the mean over images."""
    inside: float
    """The share of all filters whose centres lie on the image; it is the mean over the steps of `by_step`'s sums."""


def coverage(windows: np.ndarray, size: int, height: int, width: int) -> Coverage:
    """Filters whose centres lie beyond the image are left out: they see its edge, however far they are.

    Args:
      windows: [n, T, 5] (centre x, centre y, stride, variance, intensity) in pixels, counted from 0.
      size: N, the filters along a side.
      height: of the images.
      width: of the images.
    """
    centre_x, centre_y, stride, variance = np.moveaxis(windows[..., :4].astype(np.float64), -1, 0)
    # A window's share of a pixel is the product of the shares of its row and its column, for the filters are.
    columns = _line_shares(centre_x, stride, variance, size, width)
    rows = _line_shares(centre_y, stride, variance, size, height)
    by_step = np.einsum("nth,ntw->thw", rows, columns) / len(windows)
    return Coverage(by_step, float(by_step.sum(axis=(1, 2)).mean()))


def _line_shares(centre: np.ndarray, stride: np.ndarray, variance: np.ndarray, size: int, pixels: int) -> np.ndarray:
    """[n, T, pixels]: the sum of the filters along one side that lie on it, over N."""
    offsets = np.arange(size) - (size - 1) / 2
    means = centre[..., None] + offsets * stride[..., None]
    spread = 2 * np.maximum(variance, np.finfo(np.float32).tiny)[..., None, None]
    exponents = -np.square(np.arange(pixels) - means[..., None]) / spread
    filters = np.exp(exponents - exponents.max(axis=-1, keepdims=True))
    filters /= filters.sum(axis=-1, keepdims=True)
    inside = (means >= -0.5) & (means <= pixels - 0.5)
    return (filters * inside[..., None]).sum(axis=-2) / size


def rectangles(windows: np.ndarray, size: int) -> np.ndarray:
    """Left, top, right, bottom of the filters' centres in pixels, and the precision 1/sigma as a share of the greatest.

    [n, T, 5] to [n, T, 5].
    """
    reach = (size - 1) / 2 * windows[..., 2]
    precision = 1 / np.sqrt(np.maximum(windows[..., 3], np.finfo(np.float32).tiny))
    x, y = windows[..., 0], windows[..., 1]
    return np.stack([x - reach, y - reach, x + reach, y + reach, precision / precision.max()], axis=-1)
