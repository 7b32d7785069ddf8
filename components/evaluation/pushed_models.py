"""The baseline where no metadata tell of earlier models: the latest version that was pushed to a model server."""

from __future__ import annotations

import os

import tensorflow as tf
from tfx.dsl.io import fileio

_GRAPH_FILE = "saved_model.pb"


def latest_other(base_path: str, model_dir: str) -> str | None:
    """The folder of the latest version below `base_path` that is not the model in `model_dir`; None for none.

    A model that comes from the cache, and is judged again by another threshold, may be the version that was pushed
    last: compared with itself it would pass whatever it is worth, and be pushed again. Nothing but the content tells
    the two apart, for Pusher's copy has another place and another time, and neither has an id where there are no
    metadata. The verdict on a model is therefore the same whether it was trained again to the same weights, or not.

    Args:
      base_path: TF Serving's model_base_path, with a numbered folder a version. It need not be there yet.
      model_dir: of the SavedModel that is to be judged.

    Raises:
      FileNotFoundError: where the model to be judged has no fingerprint, as TensorFlow writes one into every export.
    """
    if not fileio.isdir(base_path):
        return None
    judged = _fingerprint(model_dir)
    for version in sorted(_versions(base_path), key=int, reverse=True):
        directory = os.path.join(base_path, version)
        try:
            if _fingerprint(directory) != judged:
                return directory
        except FileNotFoundError:
            # Not exported by what exports ours, so it is another one.
            return directory
    return None


def _versions(base_path: str) -> list[str]:
    """The numbers of the versions that are whole: Pusher copies the graph last."""
    # With a slash at their end where an object store lists folders.
    names = (name.rstrip("/") for name in fileio.listdir(base_path))
    return [name for name in names if name.isdecimal() and fileio.exists(os.path.join(base_path, name, _GRAPH_FILE))]


def _fingerprint(model_dir: str) -> str:
    """Of graph, signatures and weights, and of no place or time."""
    return str(tf.saved_model.experimental.read_fingerprint(model_dir).singleprint())
