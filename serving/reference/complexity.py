"""The size of an image under a universal lossless compressor: how complex it is, whatever a model has learned."""

from __future__ import annotations

import math
import zlib

import numpy as np

COMPRESSOR = "zlib"
"""Deflate at level 9 of a bit a pixel, each row after a zero byte: the pixels of a PNG without its frame."""


def complexity(images: np.ndarray) -> np.ndarray:
    """Measures images [n, H, W, C] of 0 and 1: their compressed sizes in nats, [n] float64.

    Serra et al., 2020 (arXiv:1909.11480), subtract it from a bound: a blank image has a low bound because it is simple.
    """
    count, height, width, channels = images.shape
    rows = np.moveaxis(images > 0.5, 3, 1).reshape(count, channels * height, width)
    bits = np.packbits(rows, axis=2)
    framed = np.concatenate([np.zeros((*bits.shape[:2], 1), np.uint8), bits], axis=2)
    return 8 * math.log(2) * np.array([len(zlib.compress(image.tobytes(), 9)) for image in framed], np.float64)
