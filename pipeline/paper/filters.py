"""Selective attention in NumPy, from the window that a signature gives: what its filters extract and put back.

A window is [5], (centre x, centre y, stride, variance, intensity) in pixels, with (0, 0) the centre of the top left
pixel. N is the number of filters along each of its sides; an image is [H, W, C].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Filters(NamedTuple):
    """Eqs. 25 and 26; rows sum to 1."""

    f_x: np.ndarray
    """[N, W] float64."""
    f_y: np.ndarray
    """[N, H] float64."""


def centres(window: np.ndarray, filters: int) -> tuple[np.ndarray, np.ndarray]:
    """Eqs. 19 and 20: the columns and the rows of the filters' centres, [N] each, in pixels counted from 0."""
    centre_x, centre_y, stride = np.asarray(window[:3], np.float64)
    offset = (np.arange(1, filters + 1) - filters / 2 - 0.5) * stride
    return centre_x + offset, centre_y + offset


def filterbank(window: np.ndarray, image_shape: tuple[int, ...], filters: int) -> Filters:
    """Eqs. 25 and 26, as a softmax over pixels: exact for a window far outside the image too."""
    height, width = image_shape[:2]
    mu_x, mu_y = centres(window, filters)

    def along(mu: np.ndarray, size: int) -> np.ndarray:
        exponent = -((np.arange(size) - mu[:, None]) ** 2) / (2 * float(window[3]))
        weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        return weight / weight.sum(axis=1, keepdims=True)

    return Filters(along(mu_x, width), along(mu_y, height))


def extract(image: np.ndarray, window: np.ndarray, filters: int) -> np.ndarray:
    """Eq. 27, of every channel: gamma F_Y x F_X^T, the patch [N, N, C]."""
    f_x, f_y = filterbank(window, image.shape, filters)
    return float(window[4]) * np.einsum("jb,bac,ia->jic", f_y, image, f_x, optimize=True)


def put_back(patch: np.ndarray, window: np.ndarray, image_shape: tuple[int, ...]) -> np.ndarray:
    """Eq. 29 of a patch [N, N, C]: 1/gamma F_Y^T w F_X, an image."""
    f_x, f_y = filterbank(window, image_shape, patch.shape[0])
    return np.einsum("jb,jic,ia->bac", f_y, patch, f_x, optimize=True) / float(window[4])
