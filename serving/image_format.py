"""The images that a model takes, made from stored pixels: the right shape, in [0, 1], and 0 or 1 where binarised."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np


class BadImage(ValueError):
    """An image that the model does not take; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """Shape and range of a model's images."""

    shape: tuple[int, int, int]
    """[H, W, C]."""
    margin: tuple[int, int] = (0, 0)
    """Rows and columns by which a stored image may be larger; its centre is taken, as in evaluation."""
    binary: bool
    """Pixels are 0 or 1."""
    threshold: float | None = None
    """Pixels above it become 1 and the others 0; None leaves them as they are."""

    @property
    def dimensions(self) -> int:
        """H W C."""
        return math.prod(self.shape)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """[H, W, C] with the margin."""
        height, width, channels = self.shape
        return height + self.margin[0], width + self.margin[1], channels

    def may_be_pixels(self, raw: bytes) -> bool:
        """Whether there are as many bytes as an image has raw pixels, with or without the margin."""
        return len(raw) in (math.prod(self.shape), math.prod(self.stored_shape))

    def from_bytes(self, raw: bytes) -> np.ndarray:
        """Makes [H, W, C] float32 of raw uint8 pixels, row by row. Raises BadImage."""
        pixels = np.frombuffer(raw, np.uint8)
        for shape in (self.shape, self.stored_shape):
            if len(pixels) == math.prod(shape):
                return self.from_pixels(pixels.reshape(shape))
        raise BadImage(f"it has {len(raw):,} bytes; expected {self._expected(math.prod)}")

    def from_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Makes [H, W, C] float32 of [H, W, C], or [H, W] where C is 1: integers from 0 to 255 or floats from 0 to 1.

        Integers are divided by 255, except 0 and 1 of a binarised image without a threshold. Raises BadImage.
        """
        if pixels.ndim == 2 and self.shape[2] == 1:
            pixels = pixels[..., None]
        if pixels.shape == self.stored_shape:
            top, left = (margin // 2 for margin in self.margin)
            pixels = pixels[top : top + self.shape[0], left : left + self.shape[1]]
        if pixels.shape != self.shape:
            raise BadImage(f"its shape is {list(pixels.shape)}; expected {self._expected(list)}")
        image = self._scaled(pixels)
        if self.threshold is not None:
            return (image > self.threshold).astype(np.float32)
        if self.binary and not np.logical_or(image == 0, image == 1).all():
            raise BadImage("its pixels are not 0 or 1 alone, as the model was trained on; a threshold makes them so")
        return image

    def _scaled(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype == bool:
            return pixels.astype(np.float32)
        if np.issubdtype(pixels.dtype, np.integer):
            if pixels.dtype != np.uint8 and (pixels.min() < 0 or pixels.max() > 255):
                raise BadImage(
                    f"its pixels reach from {pixels.min()} to {pixels.max()}; expected integers from 0 to 255"
                )
            # With a threshold 0 and 1 are two dark greys.
            are_bits = self.binary and self.threshold is None and pixels.max() <= 1
            return pixels.astype(np.float32) / np.float32(1 if are_bits else 255)
        if not np.issubdtype(pixels.dtype, np.floating):
            raise BadImage(f"its pixels are {pixels.dtype}; expected integers or floats")
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 1):  # false for a NaN too
            raise BadImage(f"its pixels reach from {low:g} to {high:g}; expected floats from 0 to 1")
        return pixels.astype(np.float32)

    def _expected(self, describe: Callable[[tuple[int, int, int]], object]) -> str:
        return " or ".join(str(describe(shape)) for shape in dict.fromkeys((self.shape, self.stored_shape)))
