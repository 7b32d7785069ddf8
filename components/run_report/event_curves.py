"""Reads a training's curves from TensorBoard's event files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.util import event_pb2

_MAX_POINTS = 800


class Curve(NamedTuple):
    """A scalar against the number of completed training steps."""

    steps: np.ndarray
    values: np.ndarray


class Curves(NamedTuple):
    """The curves of one training."""

    by_tag: Mapping[str, Curve]
    """By TensorBoard's tag, such as `train/nll_bound`."""
    seconds: float
    """Duration of the training, without the pauses between an interruption and its resumption."""
    finished: float | None
    """Time of the last summary in seconds since 1970; None if there are no summaries."""

    def thinned(self, tag: str) -> Curve | None:
        """Returns the curve as at most 800 means, enough for a page; None if there is no such curve."""
        curve = self.by_tag.get(tag)
        if curve is None or len(curve.steps) <= _MAX_POINTS:
            return curve
        parts = np.array_split(np.arange(len(curve.steps)), _MAX_POINTS)
        return Curve(*(np.array([axis[part].mean() for part in parts]) for axis in curve))


def read(directory: str) -> Curves:
    """Reads every scalar of every event file below a folder; without files there are no curves.

    Where a resumed training repeated some steps, the last attempt's values count.
    """
    points_by_tag: dict[str, dict[int, float]] = {}
    seconds, finished = 0.0, None
    for path in _event_files(directory):
        times = []
        for event in _events(path):
            times.append(event.wall_time)
            for value in event.summary.value:
                if value.HasField("tensor") and value.metadata.plugin_data.plugin_name == "scalars":
                    points_by_tag.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
        if times:
            seconds += times[-1] - times[0]
            finished = times[-1]
    by_tag = {}
    for tag, points in points_by_tag.items():
        steps = sorted(points)
        by_tag[tag] = Curve(np.array(steps), np.array([points[step] for step in steps]))
    return Curves(by_tag, seconds, finished)


def _event_files(directory: str) -> list[str]:
    """Lists TensorBoard's event files, oldest first: their names begin with the time at which they were opened."""
    paths = [
        os.path.join(folder, name)
        for folder, _, names in tf.io.gfile.walk(directory)
        for name in names
        if "tfevents" in name
    ]
    return sorted(paths, key=os.path.basename)


def _events(path: str) -> Iterator[event_pb2.Event]:
    """Yields a file's events, up to where a killed process has torn it."""
    try:
        for record in tf.data.TFRecordDataset([path]):
            yield event_pb2.Event.FromString(record.numpy())
    except tf.errors.DataLossError:
        pass
