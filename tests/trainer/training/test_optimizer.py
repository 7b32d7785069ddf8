"""Adam against Kingma and Ba's Algorithm 1 in float64, clipping, the schedule at its joints, and the average."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.training import optimizer

TASK = tiny.tiny_task({"steps": 50, "warmup_steps": 10, "clip_norm": 1e9})
SHAPES = {"w": (4, 3), "b": (3,)}


def draws(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}


def start(parameters):
    values = {name: tf.constant(value) for name, value in parameters.items()}
    zeros = {name: tf.zeros_like(value) for name, value in values.items()}
    return optimizer.Optimised(values, zeros, zeros, values)


def run(task, gradients, parameters=None):
    """The states after each of the gradients, and the norms."""
    state, states, norms = start(draws() if parameters is None else parameters), [], []
    for step, gradient in enumerate(gradients):
        tensors = {name: tf.constant(value) for name, value in gradient.items()}
        state, norm = optimizer.update(task, tf.constant(step, tf.int64), state, tensors)
        states.append(state)
        norms.append(float(norm))
    return states, norms


def algorithm_1(task, gradients, epsilon=1e-8):
    """Algorithm 1 of Kingma and Ba (2015) as they print it, in float64, with a rate for each step."""
    theta = {name: value.astype(np.float64) for name, value in draws().items()}
    m = {name: np.zeros_like(value) for name, value in theta.items()}
    v = {name: np.zeros_like(value) for name, value in theta.items()}
    for t, gradient in enumerate(gradients, start=1):
        alpha = float(optimizer.learning_rate(task, tf.constant(t - 1)))
        for name in theta:
            g = gradient[name].astype(np.float64)
            m[name] = task.recipe.adam_beta1 * m[name] + (1 - task.recipe.adam_beta1) * g
            v[name] = task.recipe.adam_beta2 * v[name] + (1 - task.recipe.adam_beta2) * g**2
            m_hat = m[name] / (1 - task.recipe.adam_beta1**t)
            v_hat = v[name] / (1 - task.recipe.adam_beta2**t)
            theta[name] = theta[name] - alpha * m_hat / (np.sqrt(v_hat) + epsilon)
    return theta, m, v


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.99), (0.0, 0.9)])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_update_is_algorithm_1(betas, steps):
    """To float32's precision: with gradients of this size, where epsilon stands makes no difference that shows."""
    task = tiny.tiny_task(
        {"steps": 50, "warmup_steps": 10, "clip_norm": 1e9, "adam_beta1": betas[0], "adam_beta2": betas[1]}
    )
    gradients = [draws(seed, scale=0.1 + seed) for seed in range(steps)]
    states, _ = run(task, gradients)
    theta, m, v = algorithm_1(task, gradients)
    for name in SHAPES:
        moved = theta[name] - draws()[name]
        # 1 - 0.999^t in float32 is the coarsest number here: relatively 1e-5 at t = 1.
        np.testing.assert_allclose(states[-1].parameters[name] - draws()[name], moved, rtol=2e-4, atol=1e-6)
        np.testing.assert_allclose(states[-1].first_moment[name], m[name], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(states[-1].second_moment[name], v[name], rtol=1e-5)


def test_epsilon_stands_where_the_note_to_algorithm_1_puts_it():
    """Folding the bias corrections into the rate makes it the paper's epsilon hat: beside sqrt(v), not sqrt(v hat)."""
    gradient = {name: np.full(shape, 1e-6, np.float32) for name, shape in SHAPES.items()}
    task = tiny.tiny_task({"steps": 50, "warmup_steps": 0, "clip_norm": 1e9, "adam_beta2": 0.999})
    (state,), _ = run(task, [gradient], {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()})
    m, v = (1 - task.recipe.adam_beta1) * 1e-6, (1 - 0.999) * 1e-12
    rate = task.recipe.learning_rate * math.sqrt(1 - 0.999) / (1 - task.recipe.adam_beta1)
    np.testing.assert_allclose(state.parameters["w"], -rate * m / (math.sqrt(v) + 1e-8), rtol=1e-4)
    assert not np.allclose(state.parameters["w"], -task.recipe.learning_rate * 1e-6 / (1e-6 + 1e-8), rtol=1e-2)


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_weight_decay_takes_its_part_of_a_layers_weights_and_of_nothing_else(kind):
    shapes = {"layer/w": (4, 130), "layer/b": (3,), "h_0": (2,)}
    parameters = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    zeros = {name: np.zeros_like(value) for name, value in parameters.items()}
    task = tiny.tiny_task({"steps": 50, "warmup_steps": 10, "optimizer": kind, "weight_decay": 0.5})
    (first, second), _ = run(task, [zeros, zeros], parameters)
    left = 1.0
    for step, state in enumerate((first, second)):
        left *= 1 - 0.5 * float(optimizer.learning_rate(task, tf.constant(step)))
        np.testing.assert_allclose(state.parameters["layer/w"], left, rtol=1e-6)
        assert (state.parameters["layer/b"].numpy() == 1).all() and (state.parameters["h_0"].numpy() == 1).all()


def test_a_zero_gradient_moves_nothing_at_the_start():
    zeros = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    (state,), (norm,) = run(TASK, [zeros])
    assert norm == 0
    for name, value in draws().items():
        np.testing.assert_array_equal(state.parameters[name], value)


# Clipping


def test_the_norm_is_that_of_all_gradients_before_clipping():
    gradient = draws(1, scale=5)
    task = tiny.tiny_task({"clip_norm": 2.0})
    (state,), (norm,) = run(task, [gradient])
    expected = math.sqrt(sum(float((value.astype(np.float64) ** 2).sum()) for value in gradient.values()))
    assert norm == pytest.approx(expected, rel=1e-6) and norm > 2.0
    # The first moment after one step shows the gradient that Adam was given.
    given = {name: value.numpy() / (1 - task.recipe.adam_beta1) for name, value in state.first_moment.items()}
    for name, value in gradient.items():
        np.testing.assert_allclose(given[name], value * 2.0 / expected, rtol=1e-5)


def test_a_gradient_below_the_limit_is_left_as_it_is():
    gradient = draws(2, scale=0.01)
    states, _ = run(tiny.tiny_task({"clip_norm": 2.0}), [gradient])
    free, _ = run(TASK, [gradient])
    for name in SHAPES:
        np.testing.assert_array_equal(states[0].first_moment[name], free[0].first_moment[name])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_shows_in_the_norm(bad):
    gradient = draws(3)
    gradient["b"][1] = bad
    _, (norm,) = run(tiny.tiny_task(), [gradient])
    assert not math.isfinite(norm)


# The schedule


def rate(task, step):
    return float(optimizer.learning_rate(task, tf.constant(step, tf.int64)))


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1e-2 / 10),  # never nought, or the first step would be lost
        (4, 1e-2 / 2),
        (9, 1e-2),
        (10, 1e-2),
        (30, (1e-2 + 1e-4) / 2),  # half way down the cosine
        (20, 1e-4 + (1e-2 - 1e-4) * (1 + math.sqrt(0.5)) / 2),  # an eighth of its period
        (50, 1e-4),
        (70, 1e-4),
    ],
)
def test_the_learning_rate_warms_up_in_a_line_and_falls_in_half_a_cosine(step, expected):
    assert rate(TASK, step) == pytest.approx(expected, rel=1e-5)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert rate(tiny.tiny_task({"warmup_steps": 0}), 0) == pytest.approx(1e-2)


def test_equal_rates_make_a_constant_schedule():
    task = tiny.tiny_task({"warmup_steps": 0, "final_learning_rate": 1e-2})
    assert {rate(task, step) for step in range(0, 45, 5)} == {rate(task, 0)}


# Phases of 1, 2 and 4 glimpses that begin at steps 0, 20 and 40 of 60.
PHASES = tiny.tiny_task(
    {"steps": 60, "warmup_steps": 10, "clip_norm": 1e9, "glimpse_schedule": ((1 / 3, 1), (2 / 3, 2))}, glimpses=4
)


def test_the_cosine_runs_over_the_glimpses_and_not_over_the_steps():
    """The rate of a step is that of one with constant glimpses at the same share of the cost after the warm-up."""
    total = 10 * 1 + 20 * 2 + 20 * 4
    for step, cost in ((10, 0), (15, 5), (20, 10), (30, 30), (40, 50), (41, 54), (50, 90), (60, 130), (70, 130)):
        cosine = (1 + math.cos(math.pi * cost / total)) / 2
        assert rate(PHASES, step) == pytest.approx(1e-4 + (1e-2 - 1e-4) * cosine, rel=1e-4), step
    assert rate(PHASES, 4) == pytest.approx(1e-2 / 2)


def test_the_warm_up_may_reach_into_a_later_phase():
    task = tiny.tiny_task({"steps": 60, "warmup_steps": 30, "glimpse_schedule": ((1 / 3, 1), (2 / 3, 2))}, glimpses=4)
    assert rate(task, 29) == pytest.approx(1e-2)
    half = 1e-4 + (1e-2 - 1e-4) / 2
    # After it come 10 steps of 2 glimpses and 20 of 4: half of these 100 glimpses are over at 47.5.
    assert rate(task, 47) > half > rate(task, 48)


def test_equal_glimpses_make_the_schedule_that_there_is_without_phases():
    task = tiny.tiny_task({"steps": 50, "warmup_steps": 10, "glimpse_schedule": ((0.5, tiny.STEPS),)})
    for step in range(0, 60, 7):
        assert rate(task, step) == pytest.approx(rate(TASK, step), rel=1e-5)


def test_the_rate_scales_what_adam_does():
    """The update uses the schedule at its own step: the first moves by a tenth of the rate, Adam's ratio being 1."""
    gradient = draws(4)
    (first, *_), _ = run(TASK, [gradient])
    for name, value in draws().items():
        np.testing.assert_allclose(
            first.parameters[name] - value, -1e-3 * np.sign(gradient[name]), rtol=1e-2, atol=1e-6
        )


# The average


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_the_average_follows_the_parameters_with_a_decay_that_lengthens(decay):
    task = tiny.tiny_task({"ema_decay": decay, "steps": 200})
    states, _ = run(task, [draws(seed) for seed in range(120)])
    for name, value in draws().items():
        average = value.astype(np.float64)
        for t, state in enumerate(states, start=1):
            d = min(decay, t / (t + 10))
            average = d * average + (1 - d) * state.parameters[name].numpy()
            np.testing.assert_allclose(state.average[name], average, rtol=1e-5, atol=1e-6)
    if decay == 0.0:
        np.testing.assert_array_equal(states[-1].average["w"], states[-1].parameters["w"])


def test_the_average_starts_anew_where_the_number_of_glimpses_changes():
    """What the weights of fewer glimpses have left in it is forgotten as fast as the random start."""
    states, _ = run(PHASES, [draws(seed) for seed in range(60)])
    average = draws()["w"].astype(np.float64)
    for t, state in enumerate(states, start=1):
        age = t - max(first for first in (0, 20, 40) if first < t)
        d = min(PHASES.recipe.ema_decay, age / (age + 10))
        average = d * average + (1 - d) * state.parameters["w"].numpy()
        np.testing.assert_allclose(state.average["w"], average, rtol=1e-5, atol=1e-6, err_msg=str(t))


def test_update_changes_none_of_its_arguments():
    state = start(draws())
    before = [{name: value.numpy().copy() for name, value in group.items()} for group in state]
    optimizer.update(TASK, tf.constant(0, tf.int64), state, {k: tf.constant(v) for k, v in draws(5).items()})
    for group, kept in zip(state, before, strict=True):
        for name, value in group.items():
            np.testing.assert_array_equal(value, kept[name])
