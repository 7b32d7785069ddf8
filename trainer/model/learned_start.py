"""The learned states before the first step, h_0 and its like: zeros until training moves them, one for all images."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from trainer.task import Task
from trainer.training.recurrence import Weights

DRAW = ("canvas_0", "h_enc_0", "s_enc_0", "h_dec_0", "s_dec_0")
CLASSIFIER = ("h_0", "s_0")
"""Names of the weights that a model starts from: an image's logits, and outputs h and cells s of LSTMs."""


def weight_shapes(names: tuple[str, ...], task: Task) -> dict[str, tuple[int, ...]]:
    """The shapes of those weights: canvas_0 is [B, A, C], and all others are [H]."""
    return {name: task.image_shape if name == "canvas_0" else (task.lstm_units,) for name in names}


def for_rows(names: tuple[str, ...], weights: Weights, n: int | tf.Tensor) -> Iterator[tf.Tensor]:
    """Each of those weights, [...], for n rows: [n, ...]."""
    for name in names:
        yield tf.tile(weights[name][None], [n] + [1] * weights[name].shape.rank)
