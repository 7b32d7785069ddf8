"""The deferred gradient is autodiff's, for every kind of model, in float32 and with products in bfloat16."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.model import draw
from trainer.training import recurrence

WIDE_UNITS = 33
"""Units whose four gates make a layer wide enough for low precision, beside heads that are not."""

MODELS = {
    name: tiny.tiny_task(
        image_shape=task.image_shape, binarisation=task.binarisation, attention=task.attention, lstm_units=WIDE_UNITS
    )
    for name, task in tiny.MODELS.items()
}


def gradients(case, scan, *, dtype=np.float32, jit=False):
    """Of a sum that weighs rows and time-steps apart, so that no two terms' gradients can be swapped."""
    weights = tiny.tensors(case.weights, dtype)
    x, eps = tf.constant(case.x, dtype), tf.constant(case.eps, dtype)
    row_factors = tf.range(1, x.shape[0] + 1, dtype=dtype)
    steps = tf.range(1, eps.shape[0] + 1, dtype=dtype)[:, None]

    @tf.function(jit_compile=jit or None, autograph=False)
    def compute():
        with tf.GradientTape() as tape:
            tape.watch(weights)
            inference = draw.infer(weights, x, eps, case.task, scan=scan)
            row_losses = inference.reconstruction + tf.reduce_sum(steps * inference.kl, axis=0) + inference.log_weight
            loss = tf.reduce_sum(row_factors * row_losses)
        return loss, tape.gradient(loss, weights)

    loss, result = compute()
    return float(loss), {name: value.numpy() for name, value in result.items()}


def deviations(actual, expected):
    """The relative difference of each tensor's gradient, by its largest entry."""
    assert actual.keys() == expected.keys()
    scales = {name: np.abs(value).max() for name, value in expected.items()}
    assert min(scales.values()) > 0
    return {name: np.abs(actual[name] - expected[name]).max() / scales[name] for name in expected}


@pytest.mark.parametrize("name", MODELS)
def test_the_deferred_gradient_is_autodiffs(name):
    case = tiny.make_case(MODELS[name], scale=0.3)
    loss, expected = gradients(case, recurrence.scan, dtype=np.float64)
    actual_loss, actual = gradients(case, recurrence.scan_deferred, dtype=np.float64)
    assert actual_loss == pytest.approx(loss, rel=1e-12)
    assert max(deviations(actual, expected).values()) < 1e-10


@pytest.mark.parametrize("name", MODELS)
def test_compiled_in_float32_it_is_autodiffs_to_rounding(name):
    case = tiny.make_case(MODELS[name], scale=0.3)
    _, expected = gradients(case, recurrence.scan)
    _, actual = gradients(case, recurrence.scan_deferred, jit=True)
    assert max(deviations(actual, expected).values()) < 1e-5


@pytest.mark.parametrize("scan", [recurrence.scan, recurrence.scan_deferred])
@pytest.mark.parametrize("name", MODELS)
def test_products_in_bfloat16_leave_the_gradient_to_a_percent(name, scan):
    case = tiny.make_case(MODELS[name], scale=0.3)
    _, expected = gradients(case, recurrence.scan)
    _, actual = gradients(case, functools.partial(scan, matmul_dtype=tf.bfloat16), jit=True)
    assert 1e-5 < max(deviations(actual, expected).values()) < 1e-2


def test_narrow_layers_keep_their_precision():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(10, 7)).astype(np.float32)
    for outputs, exact in ((127, True), (128, False)):
        weights = {"layer/w": rng.normal(size=(7, outputs)).astype(np.float32), "layer/b": np.ones(outputs, "f")}
        plain = recurrence.linear(tiny.tensors(weights, np.float32))("layer", tf.constant(a))
        low = recurrence.linear(tiny.tensors(weights, np.float32), tf.bfloat16)("layer", tf.constant(a))
        assert np.array_equal(plain, low) == exact
        np.testing.assert_allclose(low, plain, atol=0.1)
        assert low.dtype == tf.float32


def test_a_layer_that_a_step_applies_twice_is_refused():
    weights = {"layer/w": tf.ones([3, 3]), "layer/b": tf.zeros([3])}

    def step(lin, t, state):
        return (lin("layer", lin("layer", *state)),), {}

    (last,), _ = recurrence.scan(step, weights, (tf.ones([2, 3]),), 2, {})
    np.testing.assert_array_equal(last, np.full((2, 3), 81.0))
    with pytest.raises(ValueError, match="'layer' twice"):
        recurrence.scan_deferred(step, weights, (tf.ones([2, 3]),), 2, {})
