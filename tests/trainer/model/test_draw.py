"""The whole model against the float64 reference, outputs to 1e-9 and gradients by finite differences; and its start."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.reference import draw as reference
from trainer.model import draw, network
from trainer.training import objective

H, Z = tiny.UNITS, tiny.LATENTS


@pytest.fixture(params=tiny.MODELS, scope="module")
def task(request):
    return tiny.MODELS[request.param]


def test_weights_have_the_reference_names_and_shapes(task):
    expected = reference.weight_shapes(*task.image_shape, H, Z, *tiny.window_sizes(task))
    assert network.weight_shapes(task) == expected


def test_lstm_equals_the_reference():
    n, rng = 10, np.random.default_rng(6)
    inputs, h, s = rng.normal(size=(n, 4)), rng.normal(size=(n, H)), rng.normal(size=(n, H))
    w, b = rng.normal(size=(4 + H, 4 * H)), rng.normal(size=4 * H)
    gates = np.concatenate([inputs, h], axis=1) @ w + b
    expected = [reference.lstm(w, b, *row) for row in zip(inputs, h, s, strict=True)]
    h_new, s_new = network.lstm(tf.constant(gates), tf.constant(s))
    np.testing.assert_allclose(h_new, [row[0] for row in expected], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(s_new, [row[1] for row in expected], rtol=1e-10, atol=1e-10)


def test_infer_equals_the_reference_in_every_output(task):
    case = tiny.make_case(task)
    inference = case.infer()
    deviations = tiny.deviations(inference, case.forward())
    assert max(deviations.values()) < 1e-9, deviations
    assert {value.dtype for value in inference if value is not None} == {tf.float64}
    windows = {"read_windows", "write_windows"}
    assert windows & set(deviations) == (set() if tiny.window_sizes(task) == (None, None) else windows)
    assert (inference.read_windows is None) == (inference.write_windows is None) == (not windows <= set(deviations))


def test_generate_equals_the_reference_in_every_output(task):
    case = tiny.make_case(task, seed=1)
    expected = reference.generate(case.weights, case.eps, tiny.window_sizes(task)[1])
    # What belongs to the encoder alone has no say: no number there reaches the image.
    nan = {name: np.full_like(v, np.nan) for name, v in case.weights.items()}
    weights = {**nan, **{name: case.weights[name] for name in reference.GENERATIVE_NAMES}}
    generation = draw.generate(tiny.tensors(weights, np.float64), tf.constant(case.eps), task, trace=True)
    np.testing.assert_allclose(generation.canvases, expected.canvas, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(generation.canvas, generation.canvases[-1])
    if expected.write_window is None:
        assert generation.write_windows is None
    else:
        shift = [1, 1, 0, 0, 0]
        np.testing.assert_allclose(generation.write_windows, expected.write_window - shift, rtol=0, atol=1e-9)


def test_traces_change_no_other_output_and_are_absent_unless_asked_for(task):
    case = tiny.make_case(task, rows=3)
    arguments = tiny.tensors(case.weights, np.float64), tf.constant(case.x), tf.constant(case.eps)
    plain, traced = draw.infer(*arguments, task), draw.infer(*arguments, task, trace=True)
    for name in ("reconstruction", "kl", "log_weight", "canvas"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(traced, name))
    assert (plain.canvases, plain.read_windows, plain.write_windows) == (None, None, None)
    generation = draw.generate(arguments[0], arguments[2], task)
    assert (generation.canvases, generation.write_windows) == (None, None)


def test_the_first_read_window_depends_on_its_bias_and_the_first_write_window_does_not():
    """Separate heads: the read's is the only one that its own bias reaches before anything is read."""
    case = tiny.make_case(tiny.MODELS["attention"], rows=3)
    before = case.infer()
    case.weights["read_window/b"][2] += 0.5
    after = case.infer()
    np.testing.assert_allclose(after.read_windows[0, :, 3], before.read_windows[0, :, 3] * np.exp(0.5))
    assert not np.allclose(after.write_windows, before.write_windows)
    case.weights["write/b"][4] += 0.5
    third = case.infer()
    np.testing.assert_array_equal(third.read_windows[0], after.read_windows[0])
    np.testing.assert_allclose(third.write_windows[0, :, 4], after.write_windows[0, :, 4] * np.exp(0.5))


@pytest.fixture(scope="module")
def gradients(task):
    case = tiny.make_case(task, rows=3, seed=2)
    # Intensities: a pixel that is 0 in every row would leave its encoder weights without a gradient.
    case = dataclasses.replace(case, x=np.random.default_rng(2).uniform(size=case.x.shape))
    weights = tiny.tensors(case.weights, np.float64)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        inference = draw.infer(weights, tf.constant(case.x), tf.constant(case.eps), task)
        loss = tf.reduce_mean(inference.nll_bound)
    return case, {name: gradient.numpy() for name, gradient in tape.gradient(loss, weights).items()}


def test_gradients_equal_finite_differences_of_the_reference_for_every_weight(task, gradients):
    case, actual = gradients
    rng = np.random.default_rng(3)

    def loss(weights):
        return reference.forward(weights, case.x, case.eps, *tiny.window_sizes(task)).loss

    for name, value in case.weights.items():
        indices = [tuple(rng.integers(value.shape)) for _ in range(3)]
        # The largest one too, so that no comparison is of noughts.
        indices.append(np.unravel_index(np.abs(actual[name]).argmax(), value.shape))
        expected = reference.numerical_gradient(loss, case.weights, name, indices)
        scale = np.abs(actual[name]).max()
        chosen = [actual[name][index] for index in indices]
        np.testing.assert_allclose(chosen, expected, rtol=1e-5, atol=1e-6 * max(scale, 1.0), err_msg=name)


def test_every_number_of_every_weight_receives_a_gradient(task, gradients):
    case, actual = gradients
    assert actual.keys() == case.weights.keys()
    for name, gradient in actual.items():
        assert gradient.shape == case.weights[name].shape
        assert np.isfinite(gradient).all() and (gradient != 0).all(), name


def test_float32_agrees_with_float64_to_a_hundred_thousandth(task):
    """Relative to the size of each output, with weights of the size that training starts from."""
    case = tiny.make_case(task, scale=0.5)
    double, single = case.infer(), case.infer(np.float32)
    for name in ("canvases", "kl", "reconstruction", "log_weight", "read_windows", "write_windows"):
        expected, actual = getattr(double, name), getattr(single, name)
        if expected is not None:
            assert actual.dtype == tf.float32
            scale = np.abs(expected.numpy()).max()
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * scale, err_msg=name)


def test_rows_of_a_batch_do_not_meet(task):
    case = tiny.make_case(task)
    order = np.random.default_rng(4).permutation(tiny.BATCH)[:3]
    weights = tiny.tensors(case.weights, np.float64)
    whole = draw.infer(weights, tf.constant(case.x), tf.constant(case.eps), task)
    part = draw.infer(weights, tf.constant(case.x[order]), tf.constant(case.eps[:, order]), task)
    np.testing.assert_allclose(part.nll_bound, whole.nll_bound.numpy()[order], rtol=1e-12)
    np.testing.assert_allclose(part.kl, whole.kl.numpy()[:, order], rtol=1e-12)


# The weights that training starts from


def test_initial_weights_follow_from_the_seed(task):
    first, again, other = (objective.for_task(task).initial_weights(seed) for seed in (1, 1, 2))
    assert {name: value.shape for name, value in first.items()} == network.weight_shapes(task)
    assert {value.dtype for value in first.values()} == {np.dtype(np.float32)}
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        assert name.endswith("/w") == (not np.array_equal(value, other[name])), name


def test_initial_weights_have_variance_one_over_their_inputs(task):
    for name, value in objective.for_task(task).initial_weights(5).items():
        if name.endswith("/w") and value.size > 300:
            np.testing.assert_allclose(value.std() * value.shape[0] ** 0.5, 1.0, atol=0.15, err_msg=name)


def test_the_lstms_start_by_remembering(task):
    """The forget gates' biases alone are 1: in the order of the reference, input, forget, output, candidate."""
    for name, value in objective.for_task(task).initial_weights(0).items():
        if name in ("encoder/b", "decoder/b"):
            np.testing.assert_array_equal(value, np.repeat([0.0, 1.0, 0.0, 0.0], H))
        elif not name.endswith("/w"):
            assert not value.any(), name


@pytest.mark.parametrize("name", ["attention", "attention_colour"])
def test_the_first_read_window_covers_the_image(name):
    task = tiny.MODELS[name]
    case = tiny.make_case(task)
    weights = tiny.tensors(objective.for_task(task).initial_weights(0), np.float32)
    x, eps = tf.constant(case.x, tf.float32), tf.constant(case.eps, tf.float32)
    inference = draw.infer(weights, x, eps, task, trace=True)
    rows, columns, _ = task.image_shape
    stride = (max(rows, columns) - 1) / (task.attention.read - 1)
    expected = [(columns - 1) / 2, (rows - 1) / 2, stride, 1.0, 1.0]
    np.testing.assert_allclose(inference.read_windows[0], [expected] * tiny.BATCH, rtol=1e-6)
