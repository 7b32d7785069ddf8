"""The read window of selective attention, which DRAW and the classifier both look through; shapes as in equations."""

from __future__ import annotations

import tensorflow as tf

from trainer.model import equations
from trainer.training.recurrence import Linear

HEAD = "read_window"
"""The layer that gives the window parameters of Eq. 21 for reading."""


def read(lin: Linear, images: tf.Tensor, h: tf.Tensor, *, N: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Eqs. 21-27. images: [n, B, A, K], h: [n, H]. Returns the patches [n, N, N, K] and window parameters [n, 5]."""
    rows, columns, _ = images.shape[1:]
    window_parameters = lin(HEAD, h)
    window = equations.window(window_parameters, rows=rows, columns=columns, N=N)
    return equations.extract(images, window, N=N), window_parameters


def pixels(window_parameters: tf.Tensor, image_shape: tuple[int, int, int], *, N: int) -> tf.Tensor:
    """The windows, [..., 5], as (centre x, centre y, stride, variance, intensity) in pixels.

    For those who draw them, the centre of the top left pixel is (0, 0), where the paper counts from (1, 1).
    """
    rows, columns, _ = image_shape
    w = equations.window(
        tf.reshape(window_parameters, [-1, equations.WINDOW_PARAMETERS]), rows=rows, columns=columns, N=N
    )
    windows = tf.stack([w.g_x - 1, w.g_y - 1, w.delta, w.sigma2, w.gamma], axis=1)
    return tf.reshape(windows, tf.shape(window_parameters))
