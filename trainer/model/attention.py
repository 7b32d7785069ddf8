"""Selective attention, section 3.2: the window, its filterbank, reading and writing through it (Eqs. 19-29).

Shapes: n rows in a batch; B rows, A columns and C channels of an image; N x N filters in a window; H units. Pixels and
filters are counted from 1, as the paper counts them. All functions keep the dtype of their arguments.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.training.recurrence import Linear

transpose = tf.linalg.matrix_transpose

HEAD = "read_window"
"""The layer that gives the window parameters of Eq. 21 for reading."""

WINDOW_PARAMETERS = 5
"""How many numbers place a window: the five that Eq. 21 takes from h_dec."""


class Window(NamedTuple):
    """Eqs. 21-24: a grid of Gaussian filters over the image; each field is [n], in pixels counted from 1."""

    g_x: tf.Tensor
    g_y: tf.Tensor
    delta: tf.Tensor
    sigma2: tf.Tensor
    gamma: tf.Tensor


def window(window_parameters: tf.Tensor, *, rows: int, columns: int, N: int) -> Window:
    """Eqs. 21-24. window_parameters: [n, 5] = (g~_X, g~_Y, log sigma^2, log delta~, log gamma).

    Raises ValueError for N < 2, where Eq. 24 divides by zero.
    """
    if N < 2:
        raise ValueError(f"A window needs N of at least 2, not {N}: Eq. 24 divides by N - 1.")
    g_x, g_y, log_sigma2, log_delta, log_gamma = tf.unstack(window_parameters, num=WINDOW_PARAMETERS, axis=1)
    return Window(
        g_x=(columns + 1) / 2 * (g_x + 1),  # Eq. 22
        g_y=(rows + 1) / 2 * (g_y + 1),  # Eq. 23
        delta=(max(rows, columns) - 1) / (N - 1) * tf.exp(log_delta),  # Eq. 24
        sigma2=tf.exp(log_sigma2),
        gamma=tf.exp(log_gamma),
    )


def filterbank(w: Window, *, rows: int, columns: int, N: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Eqs. 19-20 and 25-26. f_x: [n, N, A] and f_y: [n, N, B]; their rows sum to 1.

    The normalisation is a softmax over pixels: exact for a window far outside the image, where the sum that the
    equation divides by would underflow.
    """
    offset = tf.range(1, N + 1, dtype=w.delta.dtype) - N / 2 - 0.5

    def along(g: tf.Tensor, size: int) -> tf.Tensor:
        mu = g[:, None] + offset * w.delta[:, None]  # Eqs. 19 and 20
        pixel = tf.range(1, size + 1, dtype=mu.dtype)
        return tf.nn.softmax(-tf.square(pixel - mu[..., None]) / (2 * w.sigma2[:, None, None]))

    return along(w.g_x, columns), along(w.g_y, rows)


def extract(images: tf.Tensor, w: Window, *, N: int) -> tf.Tensor:
    """Eq. 27, of any number of channels: gamma F_Y x F_X^T. images: [n, B, A, K]; the patches: [n, N, N, K]."""
    rows, columns, channels = images.shape[1:]
    f_x, f_y = filterbank(w, rows=rows, columns=columns, N=N)
    # Two products a row of the batch, the first over the image as it lies in memory. An einsum, or multiplying and
    # adding, takes two to forty times as long on CPU, and its gradient more so.
    strips = tf.reshape(tf.matmul(f_y, tf.reshape(images, [-1, rows, columns * channels])), [-1, columns, channels])
    strips = tf.reshape(transpose(strips), [-1, N * channels, columns])
    patches = transpose(tf.reshape(tf.matmul(strips, f_x, transpose_b=True), [-1, channels, N]))
    return tf.reshape(patches, [-1, N, N, channels]) * w.gamma[:, None, None, None]


def place(patch: tf.Tensor, w: Window, *, rows: int, columns: int) -> tf.Tensor:
    """Eq. 29: 1/gamma^ F^_Y^T w_t F^_X. patch: [n, N, N, C]; the result: [n, B, A, C]."""
    N, channels = patch.shape[2:]
    f_x, f_y = filterbank(w, rows=rows, columns=columns, N=N)
    rows_of_patch = tf.reshape(transpose(tf.reshape(patch, [-1, N, channels])), [-1, N * channels, N])
    strips = transpose(tf.reshape(tf.matmul(rows_of_patch, f_x), [-1, channels, columns]))
    image = tf.matmul(f_y, tf.reshape(strips, [-1, N, columns * channels]), transpose_a=True)
    return tf.reshape(image, [-1, rows, columns, channels]) / w.gamma[:, None, None, None]


def read(lin: Linear, images: tf.Tensor, h: tf.Tensor, *, N: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Eqs. 21-27. images: [n, B, A, K], h: [n, H]. Returns the patches [n, N, N, K] and window parameters [n, 5]."""
    rows, columns, _ = images.shape[1:]
    window_parameters = lin(HEAD, h)
    w = window(window_parameters, rows=rows, columns=columns, N=N)
    return extract(images, w, N=N), window_parameters


def pixels(window_parameters: tf.Tensor, image_shape: tuple[int, int, int], *, N: int) -> tf.Tensor:
    """The windows, [..., 5], as (centre x, centre y, stride, variance, intensity) in pixels.

    For those who draw them, the centre of the top left pixel is (0, 0), where the paper counts from (1, 1).
    """
    rows, columns, _ = image_shape
    w = window(tf.reshape(window_parameters, [-1, WINDOW_PARAMETERS]), rows=rows, columns=columns, N=N)
    windows = tf.stack([w.g_x - 1, w.g_y - 1, w.delta, w.sigma2, w.gamma], axis=1)
    return tf.reshape(windows, tf.shape(window_parameters))
