"""All random draws, each a function of integers alone and the same in every batch.

Noise is drawn outside the functions that XLA compiles, so that it is the same on every device. XLA makes other numbers
from the same seed: a program that is compiled whole, as for a TPU, draws another sample of the same distribution.
"""

from __future__ import annotations

import tensorflow as tf

from trainer.task import GenerativeTask, Task

# TensorFlow's choice of algorithm depends on the device and, under XLA on CPU, is fifty times slower than this one.
ALGORITHM = "philox"

# Streams that share a seed must not share noise.
_LATENT, _PIXEL, _SAMPLE, _CROP_TOP, _CROP_LEFT, _FLIP = 1, 2, 3, 4, 5, 6


def training_noise(task: GenerativeTask, step: tf.Tensor, batch: int) -> tf.Tensor:
    """Draw eps of Eq. 6 for one training step over the global batch: [T, batch, Z]."""
    return _latent(task, batch, _seed(task, _LATENT, step))


def sample_noise(task: GenerativeTask, count: int) -> tf.Tensor:
    """Draw z of Eq. 13 for TensorBoard's samples, the same at every validation: [T, count, Z]."""
    return _latent(task, count, _seed(task, _SAMPLE, 0))


def binarised(task: Task, step: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Draw each pixel of a training batch, [batch, B, A, C], as 1 with its intensity in [0, 1] as the probability."""
    uniforms = tf.random.stateless_uniform(x.shape, _seed(task, _PIXEL, step), alg=ALGORITHM)
    return tf.cast(uniforms < x, tf.float32)


def crop_corners(task: Task, step: tf.Tensor, batch: int) -> tf.Tensor:
    """Draw the top row and left column of each crop of a training batch: [batch, 2] int32, from 0 to the margin."""
    corners = [
        tf.random.stateless_uniform([batch], _seed(task, stream, step), 0, margin + 1, tf.int32, alg=ALGORITHM)
        for stream, margin in zip((_CROP_TOP, _CROP_LEFT), task.data.crop_margin, strict=True)
    ]
    return tf.stack(corners, axis=1)


def flips(task: Task, step: tf.Tensor, batch: int) -> tf.Tensor:
    """Draw which images of a training batch are mirrored left to right: [batch] bool."""
    return tf.random.stateless_uniform([batch], _seed(task, _FLIP, step), 0, 2, tf.int32, alg=ALGORITHM) == 1


def row_noise(task: GenerativeTask, seed: tf.Tensor) -> tf.Tensor:
    """Draw standard normal noise from a seed for each row: [n, 2] int64 to [T, n, Z].

    Each row is drawn by itself, so it does not depend on its batch.
    """
    noise = tf.map_fn(
        lambda row: tf.random.stateless_normal([task.glimpses, task.latent_size], row, alg=ALGORITHM),
        seed,
        fn_output_signature=tf.TensorSpec([task.glimpses, task.latent_size], tf.float32),
    )
    return tf.transpose(noise, [1, 0, 2])


def seeds_for_ids(ids: tf.Tensor) -> tf.Tensor:
    """Hash each example's id to a seed: [n] string to [n, 2] int64."""
    halves = [tf.strings.to_hash_bucket_strong(ids, 2**62, key=[key, 1502_04623]) for key in (1, 2)]
    return tf.stack(halves, axis=1)


def _latent(task: GenerativeTask, batch: int, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_normal([task.glimpses, batch, task.latent_size], seed, alg=ALGORITHM)


def _seed(task: Task, stream: int, index: tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.constant(task.recipe.seed * 16 + stream, tf.int64), tf.cast(index, tf.int64)])
