"""Draws a sheet of samples from an exported model into a PNG file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

_GAP = 2
_GAP_GREY = 96
"""Between the images' black and white, so that the edge of either can be seen."""
_SMALLEST_SIDE = 56
"""Pixels; a smaller image is enlarged by a whole factor, each pixel a square."""


def write_sample_sheet(
    model_dir: str | os.PathLike[str], path: str | os.PathLike[str], *, rows: int, columns: int, seed: int
) -> None:
    """Writes `rows` x `columns` images of the SavedModel in `model_dir` to `path`, whole or not at all.

    The same model and seed give the same sheet. Raises ValueError where the model has no signature `sample`.
    """
    count = rows * columns
    if rows < 1 or columns < 1:
        raise ValueError(f"A sheet of {rows} x {columns} images is empty: give at least 1 row and 1 column.")
    model = tf.saved_model.load(os.fspath(model_dir))
    if "sample" not in model.signatures:
        raise ValueError(
            f"The model in {model_dir} has no signature 'sample', it has {sorted(model.signatures)}: "
            "only a generative model draws samples."
        )
    seeds = np.stack([np.full(count, seed), np.arange(count)], axis=1).astype(np.int64)
    images = model.signatures["sample"](seed=tf.constant(seeds))["image"].numpy()
    pixels = np.rint(255 * images.clip(0, 1)).astype(np.uint8)
    _save(_sheet(pixels.reshape(rows, columns, *pixels.shape[1:])), Path(path))


def _sheet(pixels: np.ndarray) -> Image.Image:
    """[rows, columns, H, W, C] uint8, C 1 or 3: the images in their rows, with gaps between and around."""
    factor = -(-_SMALLEST_SIDE // min(pixels.shape[2:4]))
    pixels = pixels.repeat(factor, axis=2).repeat(factor, axis=3)
    rows, columns, height, width, channels = pixels.shape
    sheet = np.full(
        (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, channels), _GAP_GREY, dtype=np.uint8
    )
    for row in range(rows):
        for column in range(columns):
            top, left = _GAP + row * (height + _GAP), _GAP + column * (width + _GAP)
            sheet[top : top + height, left : left + width] = pixels[row, column]
    return Image.fromarray(sheet[..., 0] if channels == 1 else sheet)


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            image.save(file, format="PNG")
        # mkstemp makes a file that nobody else may read; a picture is for showing.
        os.chmod(unfinished, 0o644)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise
