"""Checkpoints of one training: listed by their files, read whole or not at all, the newest two kept."""

from __future__ import annotations

import atexit
import functools
import glob
import logging
import os
import re
import shutil
import tempfile

import numpy as np
import tensorflow as tf

from trainer.training.step import TrainState

KEPT = 2
_NAME = "ckpt"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"

_LOG = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of a training in its folder.

    tf.train.CheckpointManager would know them by their names in the file `checkpoint` alone.
    """

    def __init__(self, directory: str, state: TrainState) -> None:
        self._directory, self._state = directory, state

    def restore(self) -> str | None:
        """Loads the newest that can be read, with a warning where that is not the newest; returns its path.

        None where there is none. Raises ValueError where there are some, and none can be read.
        """
        newest = read_newest(self._directory)
        if newest is None:
            return None
        path, arrays = newest
        self._state.load(arrays)
        return path

    def save(self, step: int) -> None:
        """Writes the state of that step, and removes all but it and the one before."""
        tf.io.gfile.makedirs(self._directory)
        name = f"{_NAME}-{step}"
        checkpoint = tf.train.Checkpoint(state=self._state)
        checkpoint.save_counter.assign_add(1)  # It makes the variable, without which Checkpoint.restore misses it.
        checkpoint.write(os.path.join(_plain(self._directory), name))
        # For other readers of checkpoints, such as TensorBoard; `paths` has no need of it.
        tf.compat.v1.train.update_checkpoint_state(_plain(self._directory), name)
        # One of a later step could not be read, and what is no checkpoint was left by a killed save.
        kept = [os.path.basename(path) for path in paths(self._directory) if step_of(path) <= step][:KEPT]
        for entry in tf.io.gfile.listdir(self._directory):
            if entry.startswith(f"{_NAME}-") and entry.partition(".")[0] not in kept:
                path = os.path.join(self._directory, entry)
                (tf.io.gfile.rmtree if tf.io.gfile.isdir(path) else tf.io.gfile.remove)(path)


def paths(directory: str) -> list[str]:
    """Lists the checkpoints in a folder, the newest first, by their files: the file `checkpoint` may be damaged."""
    if not tf.io.gfile.isdir(directory):
        return []
    names = [name.removesuffix(".index") for name in tf.io.gfile.listdir(directory) if name.endswith(".index")]
    names = [name for name in names if re.fullmatch(r".+-\d+", name)]
    return [os.path.join(directory, name) for name in sorted(names, key=step_of, reverse=True)]


def step_of(path: str) -> int:
    """Returns the number of steps in a checkpoint's name."""
    return int(path.rpartition("-")[2])


def read_newest(directory: str) -> tuple[str, dict[str, np.ndarray]] | None:
    """Reads the newest checkpoint that can be read: its path, and its state as `TrainState.arrays`.

    None where there is none. Warns of those that cannot be read; raises ValueError where none can.
    """
    damaged: list[str] = []
    for path in paths(directory):
        try:
            arrays = _read(path)
        except ValueError as error:
            damaged.append(f"{path} ({' '.join(str(error).split())[:200]})")
            continue
        if damaged:
            _LOG.warning("Damaged checkpoints are passed over, and %s is taken: %s", path, "; ".join(damaged))
        return path, arrays
    if damaged:
        raise ValueError(
            f"Each checkpoint in {directory} is damaged: {'; '.join(damaged)}. Bring back a copy, or remove that "
            "folder to train anew."
        )
    return None


def read_variables(path: str, prefix: str) -> dict[str, np.ndarray]:
    """Reads the variables below an attribute of what was saved there, by their names without `prefix`."""
    folder, name = os.path.split(path)
    reader = tf.train.load_checkpoint(os.path.join(_plain(folder), name))
    # TensorFlow writes a slash in a name as `.S`, and a full stop as two.
    return {
        key[len(prefix) : -len(_SUFFIX)].replace(".S", "/").replace("..", "."): reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        if key.startswith(prefix) and key.endswith(_SUFFIX)
    }


@functools.cache
def _plain(directory: str) -> str:
    """The folder under a name that is no pattern: TensorFlow takes that of a checkpoint for one, as in `runs [1]`."""
    if glob.escape(directory) == directory:
        return directory
    links = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, links, ignore_errors=True)
    link = os.path.join(links, "checkpoints")
    os.symlink(os.path.abspath(directory), link)
    return link


def _read(path: str) -> dict[str, np.ndarray]:
    try:
        arrays = read_variables(path, "state/")
    except (tf.errors.OpError, RuntimeError, IndexError) as error:  # All of these were seen.
        raise ValueError(str(error)) from error
    if "step" not in arrays:
        raise ValueError("it holds no state of a training")
    return arrays
