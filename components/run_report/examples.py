"""The first images of a split, as the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainer.task import Binarisation, Task


class Images(NamedTuple):
    """In the order of the files."""

    pixels: np.ndarray
    """[n, H, W, C] uint8, 0 to 255 whether they are binarised or not; of larger images the centre."""
    labels: np.ndarray | None
    """[n] int64, where the data set has them."""


def read(files: Sequence[str], task: Task, split: str, most: int) -> Images:
    """At most so many examples of a split. Raises ValueError where there are none."""
    binary = task.split_binarisation(split) is not Binarisation.NONE
    pixels, labels = [], []
    for record in tf.data.TFRecordDataset(list(files), compression_type="GZIP").take(most):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        pixels.append(np.frombuffer(features["image"].bytes_list.value[0], np.uint8).reshape(task.stored_shape))
        if "label" in features:
            labels.append(features["label"].int64_list.value[0])
    if not pixels:
        raise ValueError(f"There are no examples in the split {split!r}.")
    top, left = (margin // 2 for margin in task.data.crop_margin)
    height, width, _ = task.image_shape
    seen = np.stack(pixels)[:, top : top + height, left : left + width]
    return Images(seen * np.uint8(255) if binary else seen, np.array(labels) if labels else None)
