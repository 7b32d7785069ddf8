"""The rule by which a batch job draws its noise: from an image's id and a sample's index, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_BUCKETS = 2**62
_KEY = 1502_04623


def seeds_of_ids(ids: Sequence[bytes]) -> np.ndarray:
    """The seed of each image's sample 0: [n, 2] int64, those that the signature `score_examples` draws from."""
    names = tf.constant(list(ids), tf.string)
    halves = [tf.strings.to_hash_bucket_strong(names, _BUCKETS, key=[key, _KEY]).numpy() for key in (1, 2)]
    return np.stack(halves, axis=1)


def seeds_of_samples(seeds: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """[n, 2] of sample 0 and each row's index of the sample, [n], to the seeds of those samples: [n, 2].

    The index is added to the second half. TensorFlow scrambles a seed before it draws, so neighbours have nothing in
    common, and two of 2^62 ids that lie within a few samples of each other are not met.
    """
    return seeds + np.stack([np.zeros_like(samples), samples], axis=1)
