"""The seven traps of PAPER.md: a check for each, and the proof that it fails for the code that falls into the trap."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.reference import draw as reference
from trainer.model import attention, draw, loss, network
from trainer.task import Attention
from trainer.training import recurrence

B, A = tiny.ROWS, tiny.COLUMNS
READ_N, WRITE_N = tiny.SMALL_N, tiny.LARGE_N


def far_case() -> tiny.Case:
    """Windows 15 pixels and more outside the image, where the sum that Eq. 25 divides by all but vanishes."""
    case = tiny.make_case(tiny.MODELS["attention"], rows=3)
    for name in ("read_window/b", "write/b"):
        case.weights[name][:5] = [5.0, -5.0, math.log(4.0), -2.0, 0.3]
    return case


def assert_equals_reference(*cases: tiny.Case) -> None:
    """The comparison that a wrong model fails: every output of the inference network, to 1e-9."""
    for case in cases or (tiny.make_case(tiny.MODELS["attention"], rows=3), far_case()):
        deviations = tiny.deviations(case.infer(), case.forward())
        assert max(deviations.values()) < 1e-9, deviations


def filters_of(g_x, g_y, delta, sigma2, N):
    window = attention.Window(*(tf.constant([value], tf.float64) for value in (g_x, g_y, delta, sigma2, 1.0)))
    f_x, f_y = attention.filterbank(window, rows=B, columns=A, N=N)
    return f_x[0].numpy(), f_y[0].numpy()


def centred_window(N):
    """The window that five zeros give: in the middle of the image, over all of it."""
    return attention.window(tf.zeros([1, 5], tf.float64), rows=B, columns=A, N=N)


def trap_1_pixels_and_filters_count_from_1():
    # The middle of 7 x 5 pixels is the 4th row and the 3rd column; two filters at a stride of 2 straddle it by one.
    w = centred_window(2)
    assert (w.g_x.numpy(), w.g_y.numpy()) == (3.0, 4.0)
    f_x, f_y = filters_of(3.0, 4.0, 2.0, 1e-3, 2)
    np.testing.assert_array_equal(f_x.argmax(axis=1) + 1, [2, 4])
    np.testing.assert_array_equal(f_y.argmax(axis=1) + 1, [3, 5])
    # And exported windows count from 0.
    task = tiny.tiny_task(attention=Attention(read=2, write=3))
    np.testing.assert_allclose(
        attention.pixels(tf.zeros([1, 5]), task.image_shape, N=2), [[(A - 1) / 2, (B - 1) / 2, B - 1, 1.0, 1.0]]
    )


def trap_2_the_latent_layer_gives_log_sigma_and_the_window_log_variance():
    w = attention.window(tf.constant([[0.0, 0.0, 1.4, 0.0, 0.0]], tf.float64), rows=B, columns=A, N=3)
    np.testing.assert_allclose(w.sigma2, [math.exp(1.4)])
    assert_latent_layer_gives_log_sigma()


def assert_latent_layer_gives_log_sigma():
    # With no weights but the latent layer's bias, log_weight shows z: z = sigma eps.
    case = tiny.make_case(tiny.MODELS["attention"], rows=3)
    for name, value in case.weights.items():
        case.weights[name] = np.zeros_like(value)
    case.weights["latent/b"][tiny.LATENTS :] = 0.7
    z = math.exp(0.7) * case.eps
    ratio = (0.5 * case.eps**2 - 0.5 * z**2 + 0.7).sum(axis=(0, 2))
    np.testing.assert_allclose(case.infer().log_weight, ratio - B * A * math.log(2))


def trap_3_the_constant_of_eq_11_counts_the_latent_variables():
    np.testing.assert_array_equal(loss.kl_divergence(tf.zeros([3, 4]), tf.zeros([3, 4])), np.zeros(3))
    prior = loss.kl_divergence(tf.ones([1, 4]), tf.zeros([1, 4]))
    np.testing.assert_allclose(prior, [0.5 * 4])


def trap_4_filters_are_a_softmax_over_pixels():
    for g in (3.0, -40.0, 400.0):
        for filters in filters_of(g, -g, 0.7, 2.0, 3):
            np.testing.assert_allclose(filters.sum(axis=1), 1.0, rtol=1e-13)


def trap_5_read_and_write_have_their_own_windows():
    case = tiny.make_case(tiny.MODELS["attention"], rows=3)
    # Raising the read layer's bias moves the first read window and leaves the first write's stride to its own N.
    expected = case.forward()
    inference = case.infer()
    shift = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(inference.read_windows, expected.read_window - shift, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(inference.write_windows, expected.write_window - shift, rtol=1e-9, atol=1e-9)
    assert np.abs(expected.read_window - expected.write_window).min() > 1e-6


def trap_6_one_filter_is_refused():
    with pytest.raises(ValueError, match=r"Eq\. 24"):
        attention.window(tf.zeros([3, 5]), rows=B, columns=A, N=1)
    for sizes in ({"read": 1, "write": 2}, {"read": 2, "write": 1}):
        with pytest.raises(ValueError, match=r"is 1: Eq\. 24"):
            Attention(**sizes)


def trap_7_the_error_image_uses_sigm_of_the_canvas():
    """With a canvas of logit 0.8 everywhere, what the encoder is given is x and x - sigm(0.8) by the same filters."""
    task = tiny.MODELS["attention_colour"]
    case = tiny.make_case(task, rows=3)
    seen = {}

    def lin(name, *inputs):
        seen[name] = inputs
        return recurrence.linear(tiny.tensors(case.weights, np.float64))(name, *inputs)

    state = draw.start(tiny.tensors(case.weights, np.float64), 3)
    state = state._replace(c=tf.fill(state.c.shape, tf.constant(0.8, tf.float64)))
    draw.step(network.for_task(task, lin), state, tf.constant(case.x), tf.constant(case.eps[0]))
    x_patch, x_hat_patch = (part.numpy().reshape(3, -1) for part in seen["encoder"][:2])
    w = case.weights
    raw = w["h_dec_0"] @ w["read_window/w"] + w["read_window/b"]
    for row in range(3):
        rows, columns, _ = task.image_shape
        *window, gamma = reference.window(raw, columns, rows, task.attention.read)
        filters = reference.filterbank(*window, task.attention.read, columns, rows)
        np.testing.assert_allclose(x_patch[row], reference.read_patch(case.x[row], *filters, gamma).ravel())
        x_hat = case.x[row] - 1 / (1 + math.exp(-0.8))
        np.testing.assert_allclose(x_hat_patch[row], reference.read_patch(x_hat, *filters, gamma).ravel())


TRAPS = (
    trap_1_pixels_and_filters_count_from_1,
    trap_2_the_latent_layer_gives_log_sigma_and_the_window_log_variance,
    trap_3_the_constant_of_eq_11_counts_the_latent_variables,
    trap_4_filters_are_a_softmax_over_pixels,
    trap_5_read_and_write_have_their_own_windows,
    trap_6_one_filter_is_refused,
    trap_7_the_error_image_uses_sigm_of_the_canvas,
)


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)
def test_trap(trap):
    trap()


def test_the_comparison_with_the_reference_passes_for_the_real_code():
    assert_equals_reference()


# The wrong variants, each of which was seen in a public implementation.


def filterbank(*, filter_offset=0.5, first_pixel=1, normalise=lambda f: f / tf.reduce_sum(f, axis=2, keepdims=True)):
    """A filterbank written as Eqs. 19-26 stand, with the mistake that is asked for."""

    def wrong(w, *, rows, columns, N):
        def along(g, size):
            offsets = tf.range(1, N + 1, dtype=g.dtype) - N / 2 - filter_offset
            mu = g[:, None] + offsets * w.delta[:, None]
            pixel = tf.range(first_pixel, size + first_pixel, dtype=g.dtype)
            exponents = -tf.square(pixel - mu[..., None]) / (2 * w.sigma2[:, None, None])
            return normalise(tf.exp(exponents))

        return along(w.g_x, columns), along(w.g_y, rows)

    return wrong


def off_by_one_filters(patch):
    patch.setattr(attention, "filterbank", filterbank(filter_offset=1.5))


def pixels_from_0_and_centres_from_1(patch):
    patch.setattr(attention, "filterbank", filterbank(first_pixel=0))


def latent_layer_read_as_log_variance(patch):
    linear = recurrence.linear

    def wrong(*arguments):
        lin = linear(*arguments)
        halved = tf.constant([[1.0] * tiny.LATENTS + [0.5] * tiny.LATENTS], tf.float64)
        return lambda name, *inputs: lin(name, *inputs) * (halved if name == "latent" else 1)

    patch.setattr(recurrence, "linear", wrong)


def window_variance_read_as_log_sigma(patch):
    window = attention.window

    def wrong(*arguments, **sizes):
        w = window(*arguments, **sizes)
        return w._replace(sigma2=tf.square(w.sigma2))

    patch.setattr(attention, "window", wrong)


def constant_of_one_half_a_step(patch):
    def wrong(mu, log_sigma):
        return 0.5 * (tf.reduce_sum(tf.square(mu) + tf.exp(2 * log_sigma) - 2 * log_sigma, axis=1) - 1)

    patch.setattr(loss, "kl_divergence", wrong)


def unnormalised_filters(patch):
    patch.setattr(attention, "filterbank", filterbank(normalise=tf.identity))


def epsilon_in_the_normalisation(patch):
    patch.setattr(
        attention, "filterbank", filterbank(normalise=lambda f: f / (tf.reduce_sum(f, axis=2, keepdims=True) + 1e-8))
    )


def floor_under_the_normalisation(patch):
    patch.setattr(
        attention,
        "filterbank",
        filterbank(normalise=lambda f: f / tf.maximum(tf.reduce_sum(f, axis=2, keepdims=True), 1e-4)),
    )


def one_head_for_read_and_write(patch):
    linear = recurrence.linear

    def wrong(*arguments):
        lin = linear(*arguments)
        return lambda name, *inputs: lin("write", *inputs)[:, :5] if name == "read_window" else lin(name, *inputs)

    patch.setattr(recurrence, "linear", wrong)


def one_n_for_read_and_write(patch):
    window = attention.window
    patch.setattr(
        attention,
        "window",
        lambda window_parameters, *, rows, columns, N: window(window_parameters, rows=rows, columns=columns, N=READ_N),
    )


def error_image_from_the_logits(patch):
    class WithoutSigmoid:
        sigmoid = staticmethod(tf.identity)

        def __getattr__(self, name):
            return getattr(tf, name)

    patch.setattr(draw, "tf", WithoutSigmoid())


def error_image_through_other_filters(patch):
    extract = attention.extract

    def wrong(images, w, *, N):
        patches = extract(images, w, N=N)
        other = extract(images, w._replace(g_x=w.g_x + 1), N=N)
        half = images.shape[3] // 2
        return tf.concat([patches[..., :half], other[..., half:]], axis=3)

    patch.setattr(attention, "extract", wrong)


def one_filter_allowed(patch):
    window = attention.window
    patch.setattr(
        attention,
        "window",
        lambda window_parameters, *, rows, columns, N: window(
            window_parameters, rows=rows, columns=columns, N=max(N, 2)
        ),
    )


MUTANTS: tuple[tuple[int, Callable[[pytest.MonkeyPatch], None]], ...] = (
    (1, off_by_one_filters),
    (1, pixels_from_0_and_centres_from_1),
    (2, latent_layer_read_as_log_variance),
    (2, window_variance_read_as_log_sigma),
    (3, constant_of_one_half_a_step),
    (4, unnormalised_filters),
    (4, epsilon_in_the_normalisation),
    (4, floor_under_the_normalisation),
    (5, one_head_for_read_and_write),
    (5, one_n_for_read_and_write),
    (6, one_filter_allowed),
    (7, error_image_from_the_logits),
    (7, error_image_through_other_filters),
)


@pytest.mark.parametrize(("number", "mutant"), MUTANTS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_code_that_falls_into_the_trap_fails_its_check(monkeypatch, number, mutant):
    mutant(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        TRAPS[number - 1]()


@pytest.mark.parametrize(
    "mutant", [mutant for number, mutant in MUTANTS if number != 6], ids=lambda mutant: mutant.__name__
)
def test_code_that_falls_into_the_trap_differs_from_the_reference(monkeypatch, mutant):
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        assert_equals_reference()


def test_the_mutants_filterbank_without_a_mistake_is_the_real_one(monkeypatch):
    """So that what fails above is the mistake, not the way in which it is written."""
    monkeypatch.setattr(attention, "filterbank", filterbank())
    assert_equals_reference(tiny.make_case(tiny.MODELS["attention"], rows=3))


def test_every_trap_has_a_mutant():
    assert {number for number, _ in MUTANTS} == set(range(1, len(TRAPS) + 1))
