"""Muon (Jordan et al., 2024): the momentum of a matrix with all its singular values made about 1.

A step along it moves every direction of a layer's outputs alike, where Adam follows the few in which the gradient is
large. The scale is that of Liu et al. (2025, arXiv:2502.16982), by which a matrix moves as far as under Adam and both
share one learning rate.
"""

from __future__ import annotations

import math

import tensorflow as tf

MOMENTUM = 0.95

_ITERATIONS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Of the Newton-Schulz iteration X <- a X + b X X^T X + c (X X^T)^2 X, which brings singular values between 0.002 and 1
to between 0.7 and 1.2 within five steps. Jordan et al. chose them for that; more steps would not bring them to 1."""


def direction(momentum: tf.Tensor, blocks: int) -> tf.Tensor:
    """Returns the step for a rate of 1, [inputs, outputs] as `momentum`.

    The matrix is `blocks` maps side by side, such as an LSTM's four gates: each is taken by itself.
    """
    inputs, outputs = momentum.shape
    columns = outputs // blocks
    x = tf.transpose(tf.reshape(momentum, [inputs, blocks, columns]), [1, 0, 2])
    x = _orthogonal(x / (tf.norm(x, axis=[1, 2], keepdims=True) + 1e-20))
    return tf.reshape(tf.transpose(x, [1, 0, 2]), [inputs, outputs]) * (0.2 * math.sqrt(max(inputs, columns)))


def _orthogonal(x: tf.Tensor) -> tf.Tensor:
    """The iteration on matrices, [blocks, rows, columns], each of norm 1 at most; by products over the shorter side.

    In bfloat16, as Jordan et al. have it: singular values are about 1 in the end, whatever the precision.
    """
    wide = x.shape[1] < x.shape[2]
    y = tf.cast(x, tf.bfloat16)
    for _ in range(_ITERATIONS):
        gram = tf.matmul(y, y, transpose_a=not wide, transpose_b=wide)
        polynomial = _B * gram + _C * tf.matmul(gram, gram)
        y = _A * y + (tf.matmul(polynomial, y) if wide else tf.matmul(y, polynomial))
    return tf.cast(y, x.dtype)
