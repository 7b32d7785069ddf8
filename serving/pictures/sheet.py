"""A sheet of images in rows, and pictures written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

_GAP = 2
_GAP_GREY = 96
"""Between the images' black and white, so that the edge of either can be seen."""
_SMALLEST_SIDE = 56
"""Pixels; a smaller image is enlarged by a whole factor, each pixel a square."""


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Means in [0, 1] as uint8; what lies beyond is clipped."""
    return np.rint(255 * np.asarray(images).clip(0, 1)).astype(np.uint8)


def enlargement(sides: tuple[int, ...], smallest: int) -> int:
    """The whole factor by which an image is enlarged, so that its shorter side has `smallest` pixels or more."""
    return -(-smallest // min(sides))


def sheet(pixels: np.ndarray, columns: int) -> Image.Image:
    """[n, H, W, C] uint8, C 1 or 3: the images in rows of `columns`, with gaps between and around."""
    factor = enlargement(pixels.shape[1:3], _SMALLEST_SIDE)
    pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, channels = pixels.shape
    rows = -(-count // columns)
    canvas = np.full(
        (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, channels), _GAP_GREY, dtype=np.uint8
    )
    for place, image in enumerate(pixels):
        row, column = divmod(place, columns)
        top, left = _GAP + row * (height + _GAP), _GAP + column * (width + _GAP)
        canvas[top : top + height, left : left + width] = image
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def save_png(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Writes the picture, and the folder that it is to be in."""
    save(path, lambda file: image.save(file, format="PNG"))


def save(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Writes a file whole or not at all: what `write` puts into the file that it is given."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        # mkstemp makes a file that nobody else may read; a picture is for showing.
        os.chmod(unfinished, 0o644)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
