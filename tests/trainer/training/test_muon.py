"""Muon against its definition by singular values, block by block, and where an update takes it."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.model import initializers
from trainer.training import muon, objective, optimizer, recurrence

MUON = {"steps": 50, "warmup_steps": 0, "clip_norm": 1e9, "optimizer": "muon"}


def matrix(rows, columns, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (30, 30), (7, 128)], ids=str)
def test_singular_values_become_about_one_and_its_vectors_stay(shape):
    value = matrix(*shape)
    u, singular, v = np.linalg.svd(value.astype(np.float64), full_matrices=False)
    scaled = muon.direction(tf.constant(value), 1).numpy() / (0.2 * math.sqrt(max(shape)))
    expected = singular / np.linalg.norm(singular)
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    assert 0.6 < np.median(expected) < 1.25
    # In the bases of the matrix's own singular vectors the result is diagonal.
    np.testing.assert_allclose(u.T @ scaled @ v.T, np.diag(expected), atol=0.2)


def test_an_element_moves_as_far_as_under_adam():
    """By a fifth of the rate, root mean square, whatever the matrix's shape: of wide ones for every rank."""
    for shape in ((520, 256), (100, 256), (256, 256)):
        step = muon.direction(tf.constant(matrix(*shape)), 1).numpy()
        assert math.sqrt(np.square(step).mean()) == pytest.approx(0.2, rel=0.25)


def test_blocks_are_taken_each_by_itself():
    parts = [matrix(12, 8, seed) * 10.0**seed for seed in range(4)]
    joined = muon.direction(tf.constant(np.concatenate(parts, axis=1)), 4).numpy()
    single = [muon.direction(tf.constant(part), 1).numpy() for part in parts]
    np.testing.assert_allclose(joined, np.concatenate(single, axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exponent", [-40, -20, 20])
def test_the_size_of_the_momentum_does_not_matter(exponent):
    value = matrix(20, 10)
    expected = muon.direction(tf.constant(value), 1).numpy()
    actual = muon.direction(tf.constant(value * np.float32(2.0**exponent)), 1).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


def test_no_momentum_is_no_step():
    assert not muon.direction(tf.zeros([20, 10]), 2).numpy().any()


def state_of(values):
    tensors = {name: tf.constant(value) for name, value in values.items()}
    zeros = {name: tf.zeros_like(value) for name, value in tensors.items()}
    return optimizer.Optimised(tensors, zeros, zeros, tensors)


def test_wide_layers_take_muon_and_all_else_takes_adam():
    shapes = {
        "encoder/w": (10, recurrence.WIDE),
        "encoder/b": (recurrence.WIDE,),
        "write/w": (8, recurrence.WIDE - 1),
        "canvas_0": (4, recurrence.WIDE),
    }
    rng = np.random.default_rng(1)
    values = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    gradients = [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(3)
    ]
    task = tiny.tiny_task(MUON)
    by_muon, by_adam = state_of(values), state_of(values)
    momentum, weights = np.zeros(shapes["encoder/w"]), values["encoder/w"].astype(np.float64)
    for step, gradient in enumerate(gradients):
        tensors = {name: tf.constant(value) for name, value in gradient.items()}
        count = tf.constant(step, tf.int64)
        by_muon, _ = optimizer.update(task, count, by_muon, tensors)
        by_adam, _ = optimizer.update(tiny.tiny_task({**MUON, "optimizer": "adam"}), count, by_adam, tensors)
        momentum = 0.95 * momentum + 0.05 * gradient["encoder/w"]
        nesterov = tf.constant(0.95 * momentum + 0.05 * gradient["encoder/w"], tf.float32)
        step_taken = muon.direction(nesterov, initializers.blocks("encoder")).numpy()
        weights = weights - float(optimizer.learning_rate(task, count)) * step_taken
    for name in shapes:
        same = np.array_equal(by_muon.parameters[name], by_adam.parameters[name])
        assert same == (name != "encoder/w"), name
    np.testing.assert_allclose(by_muon.parameters["encoder/w"], weights, atol=1e-5)
    assert not by_muon.second_moment["encoder/w"].numpy().any()


def test_blocks_are_those_of_the_model():
    """As wide as the states that they make: gates as wide as an LSTM's cells, mu and log sigma as z."""
    for task in (tiny.tiny_task({}), tiny.CLASSIFIER):
        for name, shape in objective.for_task(task).weight_shapes().items():
            layer = name.removesuffix("/w")
            if layer in ("encoder", "decoder", "lstm"):
                assert shape[1] // initializers.blocks(layer) == task.lstm_units
            elif layer == "latent":
                assert shape[1] // initializers.blocks(layer) == task.latent_size
            elif name.endswith("/w"):
                assert initializers.blocks(layer) == 1
