"""The read window of selective attention, as DRAW and the classifier both look through it; shapes as in equations."""

from __future__ import annotations

import tensorflow as tf

from trainer.model import equations
from trainer.training.recurrence import Linear

HEAD = "read_window"
"""The layer that gives the parameters of the read window, Eq. 21."""


def read(lin: Linear, images: tf.Tensor, h: tf.Tensor, *, filters: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Eqs. 21-27. images: [n, B, A, K], h: [n, H]. The patches [n, N, N, K] and the window's parameters [n, 5]."""
    rows, columns, _ = images.shape[1:]
    parameters = lin(HEAD, h)
    window = equations.window(parameters, rows=rows, columns=columns, filters=filters)
    return equations.extract(images, window, filters=filters), parameters


def pixels(parameters: tf.Tensor, image_shape: tuple[int, int, int], *, filters: int) -> tf.Tensor:
    """A window's parameters, [..., 5], as (centre x, centre y, stride, variance, intensity) in pixels.

    For those who draw it, the centre of the top left pixel is (0, 0), where the paper counts from (1, 1).
    """
    rows, columns, _ = image_shape
    flat_parameters = tf.reshape(parameters, [-1, equations.WINDOW_PARAMETERS])
    w = equations.window(flat_parameters, rows=rows, columns=columns, filters=filters)
    return tf.reshape(tf.stack([w.g_x - 1, w.g_y - 1, w.delta, w.sigma2, w.gamma], axis=1), tf.shape(parameters))
