"""Eqs. 9-12 against the float64 reference, to 1e-10, and the identities that they must satisfy."""

import numpy as np
import tensorflow as tf

from tests.reference import draw as reference
from trainer.model import loss

B, A, n, Z = 7, 5, 10, 2
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def test_kl_divergence_equals_the_reference():
    rng = np.random.default_rng(7)
    mu, log_sigma = rng.normal(size=(n, Z)), rng.normal(size=(n, Z))
    expected = [reference.kl(m, np.exp(s)) for m, s in zip(mu, log_sigma, strict=True)]
    np.testing.assert_allclose(loss.kl_divergence(tf.constant(mu), tf.constant(log_sigma)), expected, **TOLERANCE)


def test_kl_divergence_is_zero_at_the_prior_and_positive_elsewhere():
    np.testing.assert_array_equal(loss.kl_divergence(tf.zeros([n, Z]), tf.zeros([n, Z])), np.zeros(n))
    # 0.5 mu^2 for a mean alone; 0.5 (e^2 - 3) for log sigma = 1 alone.
    np.testing.assert_allclose(loss.kl_divergence(tf.constant([[3.0, 0.0]]), tf.zeros([1, Z])), [4.5], rtol=1e-6)
    moved = loss.kl_divergence(tf.zeros([1, Z]), tf.constant([[0.0, 1.0]]))
    np.testing.assert_allclose(moved, [0.5 * (np.e**2 - 3)], rtol=1e-6)


def test_reconstruction_loss_equals_the_reference_for_intensities_too():
    rng = np.random.default_rng(8)
    x, c = rng.uniform(size=(n, B, A, 3)), rng.normal(0.0, 4.0, (n, B, A, 3))
    x[:4] = np.round(x[:4])
    expected = [reference.cross_entropy(*row) for row in zip(x, c, strict=True)]
    np.testing.assert_allclose(loss.reconstruction_loss(tf.constant(x), tf.constant(c)), expected, **TOLERANCE)


def test_reconstruction_loss_is_finite_for_any_finite_logit():
    x = np.tile(np.array([0.0, 1.0, 0.0, 1.0, 0.5], np.float32), (2, B, 1))[..., None]
    c = np.tile(np.array([-1e4, 1e4, 1e4, -1e4, 0.0], np.float32), (2, B, 1))[..., None]
    np.testing.assert_allclose(loss.reconstruction_loss(x, c), B * (2e4 + np.log(2)), rtol=1e-6)


def test_log_importance_ratio_equals_the_reference():
    rng = np.random.default_rng(9)
    mu, log_sigma, eps = rng.normal(size=(3, n, Z))
    z = mu + np.exp(log_sigma) * eps
    expected = [
        reference.log_prior(row) - reference.log_normal(row, m, np.exp(s))
        for row, m, s in zip(z, mu, log_sigma, strict=True)
    ]
    actual = loss.log_importance_ratio(tf.constant(eps), tf.constant(z), tf.constant(log_sigma))
    np.testing.assert_allclose(actual, expected, **TOLERANCE)
