"""The classifier against the float64 reference, outputs to 1e-9 and gradients by finite differences; and its traps."""

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tests.reference import draw as reference
from tests.reference import ram as ram_reference
from tests.trainer.model import test_traps
from trainer.model import ram
from trainer.training import objective, recurrence

TASK = tiny.CLASSIFIER
SHIFT = [1, 1, 0, 0, 0]
"""The trainer's windows have (0, 0) at the centre of the first pixel, the reference's (1, 1)."""


def differences(case):
    result, expected = case.classify(), case.reference()
    pairs = {"logits": (result.logits, expected.logits), "windows": (result.windows, expected.windows - SHIFT)}
    return {name: np.nan_to_num(np.abs(actual - wanted), nan=np.inf).max() for name, (actual, wanted) in pairs.items()}


def test_weights_have_the_references_names_and_shapes():
    expected = ram_reference.weight_shapes(*TASK.image_shape, tiny.UNITS, tiny.CLASSES, tiny.SMALL_N)
    assert ram.weight_shapes(TASK) == expected
    initial = objective.for_task(TASK).initial_weights(0)
    assert {name: value.shape for name, value in initial.items()} == expected
    np.testing.assert_array_equal(initial["lstm/b"], np.repeat([0.0, 1.0, 0.0, 0.0], tiny.UNITS))


@pytest.mark.parametrize("read", [3, tiny.SMALL_N, tiny.LARGE_N])
@pytest.mark.parametrize(("rows", "columns"), [(tiny.ROWS, tiny.COLUMNS), (tiny.COLUMNS, tiny.ROWS)])
def test_the_first_window_covers_the_image_and_its_filters_reach_each_other(rows, columns, read):
    """At strides of 3, 2 and 6/7 pixels: half of 2 is 1, whose powers and logarithms coincide."""
    task = tiny.tiny_classifier(image_shape=(rows, columns, 3), read=read)
    weights = tiny.tensors(objective.for_task(task).initial_weights(0), np.float32)
    windows = ram.classify(weights, tf.zeros([2, *task.image_shape]), task, trace=True).windows
    stride = (tiny.ROWS - 1) / (read - 1)
    expected = [(columns - 1) / 2, (rows - 1) / 2, stride, (stride / 2) ** 2, 1.0]
    np.testing.assert_allclose(windows[0], [expected] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("read", "shape"), [(tiny.SMALL_N, (tiny.ROWS, tiny.COLUMNS, 3)), (tiny.LARGE_N, (tiny.COLUMNS, tiny.ROWS, 1))]
)
def test_classify_equals_the_reference_in_every_output(read, shape):
    case = tiny.make_classifier_case(tiny.tiny_classifier(read=read, image_shape=shape))
    assert max(differences(case).values()) < 1e-9, differences(case)
    windows = case.classify().windows.numpy()
    assert np.abs(windows[1:] - windows[:-1]).min() > 1e-9 and np.ptp(windows[1:], axis=1).min() > 1e-9


def test_the_metrics_are_the_references_cross_entropy_and_error():
    case = tiny.make_classifier_case()
    expected = case.reference()
    weights = tiny.tensors(case.weights, np.float64)
    batch = (tf.constant(case.x), tf.constant(case.labels))
    metrics = objective.for_task(TASK).metrics(weights, batch, ())
    cross_entropy = [ram_reference.cross_entropy(*row) for row in zip(expected.logits, case.labels, strict=True)]
    np.testing.assert_allclose(metrics.cross_entropy, cross_entropy, rtol=1e-9)
    wrong = expected.probabilities.argmax(axis=1) != case.labels
    np.testing.assert_array_equal(metrics.error, wrong)
    assert 0 < wrong.sum() < len(wrong)


def test_a_trace_changes_nothing_and_is_absent_unless_asked_for():
    case = tiny.make_classifier_case(rows=3)
    plain = ram.classify(tiny.tensors(case.weights, np.float64), tf.constant(case.x), TASK)
    np.testing.assert_array_equal(plain.logits, case.classify().logits)
    assert plain.windows is None


def gradients(case, dtype=np.float64, *, scan=recurrence.scan, jit=False):
    weights = tiny.tensors(case.weights, dtype)
    batch = (tf.constant(case.x, dtype), tf.constant(case.labels))
    row_factors = tf.range(1, len(case.x) + 1, dtype=dtype)

    @tf.function(jit_compile=jit or None, autograph=False)
    def compute():
        with tf.GradientTape() as tape:
            tape.watch(weights)
            losses = objective.for_task(case.task).metrics(weights, batch, (), scan).cross_entropy
            loss = tf.reduce_sum(row_factors * losses)
        return tape.gradient(loss, weights)

    return {name: value.numpy() for name, value in compute().items()}


def test_gradients_equal_finite_differences_of_the_reference_and_reach_every_number():
    case = tiny.make_classifier_case(rows=3, seed=2)
    actual = gradients(case)
    assert actual.keys() == case.weights.keys()
    rng = np.random.default_rng(3)

    def loss(weights):
        logits = ram_reference.classify(weights, case.x, TASK.glimpses, TASK.read).logits
        rows = zip(logits, case.labels, strict=True)
        return sum(weight * ram_reference.cross_entropy(*row) for weight, row in enumerate(rows, start=1))

    for name, value in case.weights.items():
        assert np.isfinite(actual[name]).all() and (actual[name] != 0).all(), name
        indices = [tuple(rng.integers(value.shape)) for _ in range(3)]
        indices.append(np.unravel_index(np.abs(actual[name]).argmax(), value.shape))
        expected = reference.numerical_gradient(loss, case.weights, name, indices)
        scale = np.abs(actual[name]).max()
        chosen = [actual[name][index] for index in indices]
        np.testing.assert_allclose(chosen, expected, rtol=1e-5, atol=1e-6 * max(scale, 1.0), err_msg=name)


@pytest.mark.parametrize("scan", [recurrence.scan, recurrence.scan_deferred])
def test_every_way_to_the_gradient_gives_the_plain_one(scan):
    case = tiny.make_classifier_case(scale=0.5)
    plain = gradients(case)
    for name, value in gradients(case, np.float32, scan=scan, jit=True).items():
        assert np.abs(value - plain[name]).max() < 1e-5 * np.abs(plain[name]).max(), name


def test_rows_of_a_batch_do_not_meet():
    case = tiny.make_classifier_case()
    order = np.random.default_rng(4).permutation(tiny.BATCH)[:3]
    part = ram.classify(tiny.tensors(case.weights, np.float64), tf.constant(case.x[order]), TASK)
    np.testing.assert_allclose(part.logits, case.classify().logits.numpy()[order], rtol=1e-12)


READ_MUTANTS = (
    test_traps.off_by_one_filters,
    test_traps.pixels_from_0_and_centres_from_1,
    test_traps.window_variance_read_as_log_sigma,
    test_traps.unnormalised_filters,
    test_traps.epsilon_in_the_normalisation,
    test_traps.floor_under_the_normalisation,
)


@pytest.mark.parametrize("mutant", READ_MUTANTS, ids=lambda mutant: mutant.__name__)
def test_code_that_falls_into_a_trap_of_the_read_window_differs_from_the_reference(monkeypatch, mutant):
    far = tiny.make_classifier_case(rows=3)
    # 15 pixels and more outside the image, where the sum that Eq. 25 divides by all but vanishes.
    far.weights["read_window/b"][:] = [5.0, -5.0, np.log(4.0), -2.0, 0.3]
    assert max(differences(far).values()) < 1e-9
    mutant(monkeypatch)
    assert max(max(differences(case).values()) for case in (tiny.make_classifier_case(rows=3), far)) > 1e-9
