"""The curves of a training, read from TensorBoard's event files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.util import event_pb2

_MOST_POINTS = 800
"""Of a curve; a longer one is shown by the means of so many stretches."""


class Curve(NamedTuple):
    """A scalar against the number of training steps that were done."""

    steps: np.ndarray
    values: np.ndarray


class Curves(NamedTuple):
    """Of one training."""

    by_tag: Mapping[str, Curve]
    """By TensorBoard's tag, such as `train/nll_bound`."""
    seconds: float
    """That the training took. A pause between an interruption and its resumption does not count."""
    finished: float | None
    """When its last summary was written, in seconds since 1970; None where there is none."""

    def thinned(self, tag: str) -> Curve | None:
        """With at most so many points as a page can show; None where there is no such curve."""
        curve = self.by_tag.get(tag)
        if curve is None or len(curve.steps) <= _MOST_POINTS:
            return curve
        parts = np.array_split(np.arange(len(curve.steps)), _MOST_POINTS)
        return Curve(*(np.array([of[part].mean() for part in parts]) for of in curve))


def read(directory: str) -> Curves:
    """All scalars of all event files below a folder; none where there are no files.

    Where a training was resumed, steps that were trained twice count as the last attempt had them.
    """
    found: dict[str, dict[int, float]] = {}
    seconds, finished = 0.0, None
    for path in _event_files(directory):
        times = []
        for event in _events(path):
            times.append(event.wall_time)
            for value in event.summary.value:
                if value.HasField("tensor") and value.metadata.plugin_data.plugin_name == "scalars":
                    found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
        if times:
            seconds += times[-1] - times[0]
            finished = times[-1]
    by_tag = {}
    for tag, points in found.items():
        steps = sorted(points)
        by_tag[tag] = Curve(np.array(steps), np.array([points[step] for step in steps]))
    return Curves(by_tag, seconds, finished)


def _event_files(directory: str) -> list[str]:
    """Those that TensorBoard takes for such, in the order in which they were begun, which their names begin with."""
    found = [
        os.path.join(folder, name)
        for folder, _, names in tf.io.gfile.walk(directory)
        for name in names
        if "tfevents" in name
    ]
    return sorted(found, key=os.path.basename)


def _events(path: str) -> list[event_pb2.Event]:
    """Up to where a process that was killed has torn the file."""
    events = []
    try:
        for record in tf.data.TFRecordDataset([path]):
            events.append(event_pb2.Event.FromString(record.numpy()))
    except tf.errors.DataLossError:
        pass
    return events
