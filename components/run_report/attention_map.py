"""Where a grid of Gaussian filters looks: how its attention is spread over the pixels (Eqs. 19, 20, 25 and 26)."""

from __future__ import annotations

import numpy as np


def coverage(windows: np.ndarray, size: int, height: int, width: int) -> np.ndarray:
    """The mean over images of the share of each pixel in a window's attention: [T, H, W], each step summing to 1.

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
    return np.einsum("nth,ntw->thw", rows, columns) / len(windows)


def _line_shares(centre: np.ndarray, stride: np.ndarray, variance: np.ndarray, size: int, pixels: int) -> np.ndarray:
    """[n, T, pixels]: the mean of the N filters along one side, each of which sums to 1."""
    offsets = np.arange(size) - (size - 1) / 2
    means = centre[..., None] + offsets * stride[..., None]
    spread = 2 * np.maximum(variance, np.finfo(np.float32).tiny)[..., None, None]
    exponents = -np.square(np.arange(pixels) - means[..., None]) / spread
    # As a softmax: a window far outside the image still looks somewhere.
    filters = np.exp(exponents - exponents.max(axis=-1, keepdims=True))
    return (filters / filters.sum(axis=-1, keepdims=True)).mean(axis=-2)


def rectangles(windows: np.ndarray, size: int) -> np.ndarray:
    """Left, top, right, bottom of the filters' centres in pixels, and the precision 1/sigma as a share of the greatest.

    [n, T, 5] to [n, T, 5].
    """
    reach = (size - 1) / 2 * windows[..., 2]
    precision = 1 / np.sqrt(np.maximum(windows[..., 3], np.finfo(np.float32).tiny))
    x, y = windows[..., 0], windows[..., 1]
    return np.stack([x - reach, y - reach, x + reach, y + reach, precision / precision.max()], axis=-1)
