"""How a picture of any size becomes one of a model's shape: cut, then scaled. Training and scoring share it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from serving.images.bad_image import BadImage

RESIZES = ("none", "fit", "fill", "stretch")
_FILTER = Image.Resampling.BILINEAR
"""A triangle as wide as the reduction: nothing aliases, and nothing is brighter or darker than where it is from."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preparation:
    """A task's `data.crop`, `data.resize` and `data.padding`."""

    crop: tuple[int, int] | None = None
    """Rows and columns of the centre that is kept; None keeps all."""
    resize: str
    """`fit` scales the whole into the shape and pads; `fill` covers the shape and cuts; `stretch` scales each side by
    itself; `none` takes only what has the shape."""
    padding: int = 0
    """Brightness of the bars that `fit` adds, from 0 to 255."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preparation | None:
        """Reads `data` of an exported task; None where its images have its shape already."""
        if data.get("resize") is None:
            return None
        crop = data.get("crop")
        return cls(
            crop=None if crop is None else (crop[0], crop[1]), resize=data["resize"], padding=data.get("padding", 0)
        )

    def enough(self, shape: tuple[int, int, int]) -> tuple[int, int] | None:
        """Rows and columns of a picture that is decoded to fewer pixels than it has; None where all are needed."""
        if self.crop is not None or self.resize == "none":
            return None
        # Twice as many, for the scaling that follows to be the one that decides.
        return 2 * shape[0], 2 * shape[1]

    def apply(self, pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        """Makes [*shape] uint8 of [H, W, C] uint8, C that of the shape. Raises BadImage for what cannot be."""
        pixels = self._cut(pixels)
        if pixels.shape == shape:
            return pixels
        (rows, columns), (height, width) = pixels.shape[:2], shape[:2]
        if self.resize == "none":
            raise BadImage(f"its shape is {list(pixels.shape)}; expected {list(shape)}, for data.resize is none")
        if self.resize == "stretch":
            return _scaled(pixels, height, width, (0, 0, columns, rows))
        if self.resize == "fill":
            scale = min(rows / height, columns / width)
            # The part of the picture that is seen, in its own pixels, of which fractions count.
            left, top = (columns - scale * width) / 2, (rows - scale * height) / 2
            return _scaled(pixels, height, width, (left, top, columns - left, rows - top))
        scale = min(height / rows, width / columns)
        inner = max(1, round(scale * rows)), max(1, round(scale * columns))
        canvas = np.full(shape, self.padding, np.uint8)
        top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
        canvas[top : top + inner[0], left : left + inner[1]] = _scaled(pixels, *inner, (0, 0, columns, rows))
        return canvas

    def _cut(self, pixels: np.ndarray) -> np.ndarray:
        if self.crop is None:
            return pixels
        (rows, columns), (height, width) = pixels.shape[:2], self.crop
        if rows < height or columns < width:
            raise BadImage(f"it has {rows} x {columns} pixels, fewer than the {height} x {width} of data.crop")
        top, left = (rows - height) // 2, (columns - width) // 2
        return pixels[top : top + height, left : left + width]


def _scaled(pixels: np.ndarray, height: int, width: int, box: tuple[float, float, float, float]) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    return np.asarray(picture.resize((width, height), _FILTER, box=box)).reshape(height, width, pixels.shape[2])
