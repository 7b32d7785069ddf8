"""All the noise there is: each draw a function of integers alone, and the same in every batch.

It is drawn outside the functions that XLA compiles, and is then the same on every device. XLA makes other numbers of
the same seed, so a program that is compiled whole, as for a TPU, draws another sample of the same distribution.
"""

from __future__ import annotations

import tensorflow as tf

from trainer.task import GenerativeTask, Task

# TensorFlow's choice of algorithm depends on the device and, under XLA on CPU, is fifty times slower than this one.
ALGORITHM = "philox"

# Streams that share a seed must not share noise.
_LATENT, _PIXEL, _SAMPLE, _CROP_TOP, _CROP_LEFT = 1, 2, 3, 4, 5


def training_noise(task: GenerativeTask, step: tf.Tensor, batch: int) -> tf.Tensor:
    """eps of Eq. 6 for one training step over the global batch: [T, batch, Z]."""
    return _latent(task, batch, _seed(task, _LATENT, step))


def sample_noise(task: GenerativeTask, count: int) -> tf.Tensor:
    """z of Eq. 13 for the samples that are watched while training, the same at every look: [T, count, Z]."""
    return _latent(task, count, _seed(task, _SAMPLE, 0))


def binarised(task: Task, step: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """One training batch, [batch, B, A, C], of pixels that are 1 with their intensity in [0, 1] as probability."""
    uniforms = tf.random.stateless_uniform(x.shape, _seed(task, _PIXEL, step), alg=ALGORITHM)
    return tf.cast(uniforms < x, tf.float32)


def crop_corners(task: Task, step: tf.Tensor, batch: int) -> tf.Tensor:
    """The top row and the left column of the crops of one training batch: [batch, 2] int32, from 0 to the margin."""
    corners = [
        tf.random.stateless_uniform([batch], _seed(task, stream, step), 0, margin + 1, tf.int32, alg=ALGORITHM)
        for stream, margin in zip((_CROP_TOP, _CROP_LEFT), task.data.crop_margin, strict=True)
    ]
    return tf.stack(corners, axis=1)


def row_noise(task: GenerativeTask, seed: tf.Tensor) -> tf.Tensor:
    """Standard normal noise for rows that bring a seed each: [n, 2] int64 to [T, n, Z].

    Each row is drawn by itself, so it does not depend on the batch that it travels in.
    """
    noise = tf.map_fn(
        lambda row: tf.random.stateless_normal([task.glimpses, task.latent_size], row, alg=ALGORITHM),
        seed,
        fn_output_signature=tf.TensorSpec([task.glimpses, task.latent_size], tf.float32),
    )
    return tf.transpose(noise, [1, 0, 2])


def seeds_for_ids(ids: tf.Tensor) -> tf.Tensor:
    """A seed for each example from its id: [n] string to [n, 2] int64."""
    halves = [tf.strings.to_hash_bucket_strong(ids, 2**62, key=[key, 1502_04623]) for key in (1, 2)]
    return tf.stack(halves, axis=1)


def _latent(task: GenerativeTask, batch: int, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_normal([task.glimpses, batch, task.latent_size], seed, alg=ALGORITHM)


def _seed(task: Task, stream: int, index: tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.constant(task.recipe.seed * 16 + stream, tf.int64), tf.cast(index, tf.int64)])
