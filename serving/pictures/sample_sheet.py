"""Draws a sheet of samples from an exported model into a PNG file."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from serving.pictures.sheet import save_png, sheet, to_bytes


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
    save_png(sheet(to_bytes(images), columns), path)
