"""Windows of selective attention in NumPy: their rectangles, their precision and their filters.

A window is [5], (centre x, centre y, stride, variance, intensity) in pixels as a signature gives it, with (0, 0) the
centre of the top left pixel. N is the number of filters along each of its sides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Filters(NamedTuple):
    """Eqs. 25 and 26; rows sum to 1."""

    f_x: np.ndarray
    """[..., N, W] float64."""
    f_y: np.ndarray
    """[..., N, H] float64."""


def rectangle(window: np.ndarray, filters: int) -> np.ndarray:
    """Returns left, top, right and bottom of the filters' centres (Eqs. 19, 20): windows [..., 5] to [..., 4]."""
    window = np.asarray(window, np.float64)
    reach = (filters - 1) / 2 * window[..., 2]
    x, y = window[..., 0], window[..., 1]
    return np.stack([x - reach, y - reach, x + reach, y + reach], axis=-1)


def relative_precision(variance: np.ndarray) -> np.ndarray:
    """Returns the precision 1/sigma of windows' filters as a share of the greatest among them."""
    precision = 1 / np.sqrt(_positive(variance))
    return precision / precision.max()


def frame_widths(variance: np.ndarray, widest: int) -> np.ndarray:
    """Returns the widths of windows' frames in whole pixels: in proportion to the precision, from 1 to `widest`."""
    return np.rint(widest * relative_precision(variance)).clip(1).astype(int)


def filter_centres(window: np.ndarray, filters: int) -> tuple[np.ndarray, np.ndarray]:
    """Eqs. 19 and 20. Returns the columns and the rows of the filters' centres: windows [..., 5] to [..., N] each."""
    window = np.asarray(window, np.float64)
    offset = (np.arange(1, filters + 1) - filters / 2 - 0.5) * window[..., 2:3]
    return window[..., 0:1] + offset, window[..., 1:2] + offset


def filterbank(window: np.ndarray, image_shape: tuple[int, ...], filters: int) -> Filters:
    """Eqs. 25 and 26 for windows [..., 5], as a softmax over pixels: exact for a window far outside the image too."""
    height, width = image_shape[:2]
    centre_x, centre_y = filter_centres(window, filters)
    variance = _positive(np.asarray(window)[..., 3])[..., None, None]

    def along(centre: np.ndarray, pixels: int) -> np.ndarray:
        exponent = -np.square(np.arange(pixels) - centre[..., None]) / (2 * variance)
        weight = np.exp(exponent - exponent.max(axis=-1, keepdims=True))
        return weight / weight.sum(axis=-1, keepdims=True)

    return Filters(along(centre_x, width), along(centre_y, height))


def extract(image: np.ndarray, window: np.ndarray, filters: int) -> np.ndarray:
    """Eq. 27 for every channel of an image [H, W, C]. Returns the patch [N, N, C], gamma F_Y x F_X^T."""
    f_x, f_y = filterbank(window, image.shape, filters)
    return float(window[4]) * np.einsum("jb,bac,ia->jic", f_y, image, f_x, optimize=True)


def put_back(patch: np.ndarray, window: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Eq. 29 for a patch [N, N, C]. Returns an image [H, W, C], 1/gamma F_Y^T w F_X."""
    f_x, f_y = filterbank(window, image_shape, patch.shape[0])
    return np.einsum("jb,jic,ia->bac", f_y, patch, f_x, optimize=True) / float(window[4])


def draw_frame(
    pixels: np.ndarray,
    window: np.ndarray,
    filters: int,
    *,
    factor: int,
    colour: int | tuple[int, int, int],
    width: int,
) -> None:
    """Paints the rectangle of a window [5] into an image, as much of it as there is image.

    Args:
      pixels: [H, W, ...] of the image enlarged by `factor`; it is changed.
      window: in pixels of the image before it was enlarged.
      filters: N.
      factor: a whole number.
      colour: what a painted pixel becomes.
      width: of the frame, which lies inside the rectangle.
    """
    # Beyond the image by more than its size nothing can be seen, and integers have 64 bits.
    limit = 2 * max(pixels.shape[:2])
    # (0, 0) is the centre of the first pixel, which covers factor x factor pixels of the enlarged image.
    edges = np.rint((rectangle(window, filters) + 0.5) * factor).clip(-limit, limit).astype(int)
    left, top, right, bottom = edges
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    for first, last in ((top, top + width), (bottom - width, bottom)):
        pixels[max(first, 0) : max(last, 0), max(left, 0) : max(right, 0)] = colour
    for first, last in ((left, left + width), (right - width, right)):
        pixels[max(top, 0) : max(bottom, 0), max(first, 0) : max(last, 0)] = colour


def _positive(variance: np.ndarray) -> np.ndarray:
    """Float32 may have rounded a variance to 0."""
    return np.maximum(np.asarray(variance, np.float64), np.finfo(np.float32).tiny)
