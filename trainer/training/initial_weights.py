"""Where training starts: random weights, a model's, those of a training under way, or a whole training state."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from trainer.training.step import TrainState

_EXPORT_GRAPH = "saved_model.pb"
_CHECKPOINT_INDEX = "checkpoint"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_EXPORT_GROUPS = ("_weights/", "_parameters/")
"""Attributes that hold the weights of an export; the second until version 0.1."""
_CHECKPOINT_GROUP = "state/average/"


def load(state: TrainState, path: str) -> None:
    """Sets the state to what lies at `path`.

    Args:
      state: takes all of an .npz of `TrainState.arrays`. Of everything else it takes the weights alone, and training
        starts at step 0.
      path: an .npz, a SavedModel, or a folder of checkpoints, of which the moving average of the newest counts.

    Raises:
      ValueError: where there is nothing of the kind, or it is another model's.
    """
    try:
        if not tf.io.gfile.isdir(path):
            state.load(_arrays(path))
        else:
            state.load_weights(read_weights(path))
    except (tf.errors.OpError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"Cannot start from {path}: {error}") from error


def read_weights(folder: str) -> dict[str, np.ndarray]:
    """Reads the weights of a SavedModel, or of the newest checkpoint in a folder, by the names of the model."""
    if tf.io.gfile.exists(os.path.join(folder, _EXPORT_GRAPH)):
        return _group(os.path.join(folder, "variables", "variables"), _EXPORT_GROUPS)
    newest = tf.train.latest_checkpoint(folder)
    if newest is None:
        raise ValueError("it holds neither a SavedModel nor checkpoints of a training.")
    return _group(newest, (_CHECKPOINT_GROUP,))


def _arrays(path: str) -> dict[str, np.ndarray]:
    with tf.io.gfile.GFile(path, "rb") as file:
        arrays = np.load(io.BytesIO(file.read()))
    if not isinstance(arrays, Mapping):
        raise ValueError("it is not an .npz file.")
    return dict(arrays)


def _group(checkpoint: str, prefixes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The variables of one attribute. TensorFlow writes a slash in a name as `.S`, and a full stop as two."""
    reader = tf.train.load_checkpoint(checkpoint)
    return {
        key[len(prefix) : -len(_SUFFIX)].replace(".S", "/").replace("..", "."): reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        for prefix in prefixes
        if key.startswith(prefix) and key.endswith(_SUFFIX)
    }
