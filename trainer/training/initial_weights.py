"""Where training starts: random weights, a model's, those of a training under way, or a whole training state."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from trainer.training import checkpoints
from trainer.training.step import TrainState

_EXPORT_GRAPH = "saved_model.pb"
_EXPORT_GROUPS = ("_weights/", "_parameters/")
"""Attributes that hold the weights of an export; the second until version 0.1."""
_CHECKPOINT_GROUP = "average/"


def load(state: TrainState, path: str) -> None:
    """Sets the state to what lies at `path`.

    Args:
      state: takes all of an .npz of `TrainState.arrays`. Of everything else it takes the weights alone, and training
        starts at step 0.
      path: an .npz, a SavedModel, or a folder of checkpoints, of which the moving average of the newest that can be
        read counts.

    Raises:
      ValueError: where there is nothing of the kind, or it is another model's.
    """
    try:
        if not tf.io.gfile.isdir(path):
            state.load(_arrays(path))
        else:
            state.load_weights(read_weights(path))
    # NumPy and zipfile raise all of these where a file is damaged.
    except (tf.errors.OpError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"Cannot start from {path}: {error}") from error


def read_weights(folder: str) -> dict[str, np.ndarray]:
    """Reads the weights of a SavedModel, or of the newest sound checkpoint in a folder, by the names of the model."""
    if tf.io.gfile.exists(os.path.join(folder, _EXPORT_GRAPH)):
        variables = os.path.join(folder, "variables", "variables")
        groups = [checkpoints.read_variables(variables, group) for group in _EXPORT_GROUPS]
        return {name: value for group in groups for name, value in group.items()}
    newest = checkpoints.read_newest(folder)
    if newest is None:
        raise ValueError("it holds neither a SavedModel nor checkpoints of a training.")
    _, arrays = newest
    return {
        name.removeprefix(_CHECKPOINT_GROUP): value
        for name, value in arrays.items()
        if name.startswith(_CHECKPOINT_GROUP)
    }


def _arrays(path: str) -> dict[str, np.ndarray]:
    with tf.io.gfile.GFile(path, "rb") as file:
        arrays = np.load(io.BytesIO(file.read()))
    if not isinstance(arrays, Mapping):
        raise ValueError("it is not an .npz file.")
    return dict(arrays)
