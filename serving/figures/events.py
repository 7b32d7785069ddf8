"""Reads what a training has cost from TensorBoard's event files."""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.util import event_pb2


class Curve(NamedTuple):
    """A number that was logged now and then."""

    step: np.ndarray
    """[n] int64, ascending: how many minibatches had been seen."""
    value: np.ndarray
    """[n] float64."""


def curves(directory: str | os.PathLike[str], *tags: str) -> list[Curve]:
    """The curve of each tag, in the event files below the directory.

    Of a step that was done twice, by a run that was killed and resumed, the last value counts. Raises ValueError where
    a tag was never logged.
    """
    directory = os.fspath(directory)
    found: dict[str, dict[int, float]] = {tag: {} for tag in tags}
    # A file's name holds the second in which it was begun.
    for path in sorted(tf.io.gfile.glob([os.path.join(directory, "*tfevents*"), f"{directory}/*/*tfevents*"])):
        # The last record of a run that was killed may be cut off.
        with contextlib.suppress(tf.errors.DataLossError):
            for record in tf.data.TFRecordDataset(path):
                event = event_pb2.Event.FromString(record.numpy())
                for value in event.summary.value:
                    if value.tag in found:
                        found[value.tag][event.step] = float(tf.make_ndarray(value.tensor))
    missing = [tag for tag in tags if not found[tag]]
    if missing:
        raise ValueError(f"The logs in {directory} have no {' nor '.join(missing)}: expected those of a training.")
    return [Curve(np.array(sorted(one)), np.array([one[step] for step in sorted(one)])) for one in found.values()]
