"""The seeds of a batch job's noise: they follow from an image's id and a sample's index, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_BUCKETS = 2**62
_KEY = 1502_04623


def seeds_for_ids(ids: Sequence[bytes]) -> np.ndarray:
    """Returns the seed of each image's sample 0: [n, 2] int64, as the signature `score_examples` derives it."""
    import tensorflow as tf  # not before a worker scores: it takes seconds, and the others need it not

    names = tf.constant(list(ids), tf.string)
    halves = [tf.strings.to_hash_bucket_strong(names, _BUCKETS, key=[key, _KEY]).numpy() for key in (1, 2)]
    return np.stack(halves, axis=1)


def seeds_for_samples(seeds: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Returns the seeds [n, 2] of samples with the indices [n], from those of sample 0, [n, 2].

    The index is added to the second half. TensorFlow scrambles a seed before it draws, so neighbours have nothing in
    common, and two of 2^62 ids that lie within a few samples of each other do not occur.
    """
    return seeds + np.stack([np.zeros_like(samples), samples], axis=1)
