"""The nearest training image, beside all distances one by one."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.paper.nearest import nearest


def test_it_is_that_of_the_least_of_all_distances_in_whatever_chunks() -> None:
    rng = np.random.default_rng(8)
    training = rng.uniform(size=(50, 7, 5, 3)).astype(np.float32)
    # Far from the origin differences of 1e-6 decide; and the last sample is a training image itself.
    training[20:30] = 0.9 + rng.uniform(-1e-6, 1e-6, (10, 7, 5, 3))
    samples = np.concatenate([rng.uniform(size=(6, 7, 5, 3)), np.full((1, 7, 5, 3), 0.9), training[41:42]])
    distance = np.sqrt(((samples[:, None].astype(np.float64) - training[None]) ** 2).sum(axis=(2, 3, 4)))
    for chunks in ([50], [1] * 50, [7, 30, 13]):
        images, far = nearest(samples, np.split(training, np.cumsum(chunks)[:-1]))
        np.testing.assert_array_equal(images, training[distance.argmin(axis=1)])
        np.testing.assert_allclose(far, distance.min(axis=1), atol=1e-12)
    assert far[-1] == 0


def test_of_equals_the_first_is_taken() -> None:
    training = np.array([[3.0], [1.0], [-1.0], [1.0]]).reshape(4, 1, 1, 1)
    images, far = nearest(np.zeros((1, 1, 1, 1)), [training[:2], training[2:]])
    assert (images.item(), far.item()) == (1.0, 1.0)


def test_no_images_and_others_are_refused() -> None:
    with pytest.raises(ValueError, match="no training image"):
        nearest(np.zeros((1, 2, 2, 1)), [])
    with pytest.raises(ValueError, match=r"\(3, 2, 1\), the samples \(2, 2, 1\)"):
        nearest(np.zeros((1, 2, 2, 1)), [np.zeros((4, 3, 2, 1))])
