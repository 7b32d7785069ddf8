"""Draws a sheet of samples from an exported model into a PNG file."""

from __future__ import annotations

import os

import numpy as np

from serving.pictures.png import save_png
from serving.pictures.sheet import sheet_in_rows
from serving.saved_model import SavedModel


def write_sample_sheet(
    model_dir: str | os.PathLike[str], path: str | os.PathLike[str], *, rows: int, columns: int, seed: int
) -> None:
    """Writes `rows` x `columns` images of the SavedModel in `model_dir` to `path`, whole or not at all.

    The same model and seed give the same sheet. Raises ValueError if the model has no signature `sample`.
    """
    count = rows * columns
    if rows < 1 or columns < 1:
        raise ValueError(f"A sheet of {rows} x {columns} images is empty: give at least 1 row and 1 column.")
    seeds = np.stack([np.full(count, seed), np.arange(count)], axis=1)
    images = SavedModel(model_dir).signature("sample").call({"seed": seeds})["image"]
    save_png(sheet_in_rows(images, columns), path)
