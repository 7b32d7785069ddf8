"""The loss, section 2.2, in nats (Eqs. 9-12); shapes as in `attention`, with Z latent variables and T time-steps."""

from __future__ import annotations

import tensorflow as tf


def reconstruction_loss(x: tf.Tensor, c: tf.Tensor) -> tf.Tensor:
    """Eq. 9: the cross-entropy of x with means sigm(c), from logits, summed over pixels. [n, B, A, C] to [n], nats."""
    return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=c), axis=[1, 2, 3])


def kl_divergence(mu: tf.Tensor, log_sigma: tf.Tensor) -> tf.Tensor:
    """Eqs. 10-11, one time-step: KL(N(mu, sigma^2) || N(0, I)), summed over latent variables. [n, Z] to [n], nats."""
    return 0.5 * tf.reduce_sum(tf.square(mu) + tf.exp(2 * log_sigma) - 2 * log_sigma - 1, axis=1)


def nll_bound(reconstruction: tf.Tensor, kl: tf.Tensor) -> tf.Tensor:
    """Eq. 12, by one sample of z: L_x, [n], plus the sum of L_z's terms, [T, n]."""
    return reconstruction + tf.reduce_sum(kl, axis=0)


def log_importance_ratio(eps: tf.Tensor, z: tf.Tensor, log_sigma: tf.Tensor) -> tf.Tensor:
    """log p(z) - log q(z | x) of z = mu + sigma eps, one time-step. [n, Z] to [n], nats; the constants cancel."""
    return tf.reduce_sum(0.5 * tf.square(eps) - 0.5 * tf.square(z) + log_sigma, axis=1)
