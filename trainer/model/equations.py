"""The paper's equations as pure functions of tensors, in its symbols.

Shapes: n rows in a batch; B rows, A columns and C channels of an image; N x N filters in a window; Z latent variables;
H units. Pixels and filters are counted from 1, as the paper counts them. All functions keep the dtype of their
arguments; only `window` raises, ValueError for an impossible N.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

transpose = tf.linalg.matrix_transpose

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


def lstm(gates: tf.Tensor, s: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Eqs. 5 and 7: an LSTM with forget gates, from its pre-activations. Returns (h, s), each [n, H].

    gates: [n, 4H], in the order input, forget, output, candidate. s: [n, H], the cells.
    """
    i, f, o, candidate = tf.split(gates, 4, axis=1)
    s = tf.sigmoid(f) * s + tf.sigmoid(i) * tf.tanh(candidate)
    return tf.sigmoid(o) * tf.tanh(s), s


def kl_divergence(mu: tf.Tensor, log_sigma: tf.Tensor) -> tf.Tensor:
    """Eqs. 10-11, one time-step: KL(N(mu, sigma^2) || N(0, I)), summed over latent variables. [n, Z] to [n], nats."""
    return 0.5 * tf.reduce_sum(tf.square(mu) + tf.exp(2 * log_sigma) - 2 * log_sigma - 1, axis=1)


def reconstruction_loss(x: tf.Tensor, c: tf.Tensor) -> tf.Tensor:
    """Eq. 9: the cross-entropy of x with means sigm(c), from logits, summed over pixels. [n, B, A, C] to [n], nats."""
    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=c), axis=[1, 2, 3])


def log_importance_ratio(eps: tf.Tensor, z: tf.Tensor, log_sigma: tf.Tensor) -> tf.Tensor:
    """log p(z) - log q(z | x) of z = mu + sigma eps, one time-step. [n, Z] to [n], nats; the constants cancel."""
    return tf.reduce_sum(0.5 * tf.square(eps) - 0.5 * tf.square(z) + log_sigma, axis=1)
