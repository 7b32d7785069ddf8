"""The noise of seeds without TensorFlow, against TensorFlow's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from serving import noise
from tests import tiny
from trainer.training import randomness

SEEDS = np.array(
    [[0, 0], [7, 0], [7, 1], [-1, -7], [2**40, -(2**63)], [2**63 - 1, 1], [0, 2**32], [2**32, 0], [123456789, 3]],
    np.int64,
)


@pytest.mark.parametrize(("steps", "latents"), [(1, 1), (3, 5), (64, 100), (2, 2)])
def test_it_is_what_the_signatures_draw(steps: int, latents: int) -> None:
    """To the last places of float32: logarithm and sine are other libraries'."""
    task = tiny.tiny_task(glimpses=steps, latent_size=latents)
    expected = np.swapaxes(randomness.row_noise(task, tf.constant(SEEDS)).numpy(), 0, 1)
    drawn = noise.seed_noise(SEEDS, steps, latents)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=2e-6)


def test_a_row_is_its_seeds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = noise.seed_noise(SEEDS, 3, 5)
    monkeypatch.setattr(noise, "_NUMBERS_AT_ONCE", 31)
    np.testing.assert_array_equal(noise.seed_noise(SEEDS, 3, 5), whole)
    np.testing.assert_array_equal(noise.seed_noise(SEEDS[[4, 1]], 3, 5), whole[[4, 1]])


def test_it_is_standard_normal() -> None:
    drawn = noise.seed_noise(np.stack([np.arange(50), np.arange(50)], axis=1), 40, 50).ravel()
    assert abs(drawn.mean()) < 0.02 and abs(drawn.std() - 1) < 0.02 and np.isfinite(drawn).all()
