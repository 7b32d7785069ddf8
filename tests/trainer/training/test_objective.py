"""What each kind of task learns and shows: the alarm for a collapsed posterior, and images of the weights' own."""

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.model import draw, ram
from trainer.task import Task
from trainer.training import objective, randomness

COLLAPSED = objective.BoundMetrics(20.0, 19.6, [0.3, 0.1])
HEALTHY = objective.BoundMetrics(20.0, 19.0, [0.7, 0.3])


@pytest.mark.parametrize(("warmup", "last_quiet"), [(0, 1_000), (999, 1_000), (5_000, 5_000)])
def test_a_low_kl_is_an_alarm_only_after_a_thousand_steps_and_after_the_warm_up(warmup, last_quiet):
    learned = objective.for_task(tiny.tiny_task({"steps": 9_000, "warmup_steps": warmup}))
    assert [learned.warning(COLLAPSED, step) for step in (1, last_quiet)] == [None, None]
    assert f"At step {last_quiet + 1:,} the KL is 0.40 nats" in learned.warning(COLLAPSED, last_quiet + 1)
    assert learned.warning(HEALTHY, 9_000) is None


def test_a_classifier_has_no_posterior_to_collapse():
    metrics = objective.ErrorMetrics(2.0, 0.9)
    assert objective.for_task(tiny.CLASSIFIER).warning(metrics, 10**6) is None


def test_a_kind_of_task_without_an_objective_is_refused_by_name():
    class OtherTask(Task):
        name = "other"

        def __init__(self):
            pass

    with pytest.raises(TypeError, match="other is a OtherTask; expected a GenerativeTask or ClassifyingTask"):
        objective.for_task(OtherTask())


# What TensorBoard shows


@pytest.mark.parametrize("kind", ["attention", "no_attention_colour"])
def test_the_drawings_end_with_the_samples(kind):
    task = tiny.MODELS[kind]
    weights = tiny.tensors(tiny.make_case(task).weights, np.float32)
    sheets = objective.for_task(task).sheets(weights, tf.zeros([1, *task.image_shape]))
    generation = draw.generate(weights, randomness.sample_noise(task, 32), task, trace=True)
    images = tf.sigmoid(generation.canvas).numpy()
    np.testing.assert_allclose(sheets["samples"].images, images.reshape(4, 8, *task.image_shape), atol=1e-5)
    drawings = sheets["drawings"]
    assert drawings.images.shape == (8, tiny.STEPS, *task.image_shape)
    np.testing.assert_allclose(drawings.images[:, -1], images[:8], atol=1e-5)
    if kind == "attention":
        windows = generation.write_windows.numpy()[:, :8].swapaxes(0, 1)
        np.testing.assert_allclose(drawings.windows, windows, rtol=1e-4, atol=1e-4)
        assert task.attention.write == drawings.N
    else:
        assert (drawings.windows, drawings.N) == (None, 0)


def test_a_long_drawing_is_shown_at_ten_steps_from_the_first_to_the_last():
    task = tiny.tiny_task(glimpses=31)
    weights = tiny.tensors(tiny.make_case(task).weights, np.float32)
    drawings = objective.for_task(task).sheets(weights, tf.zeros([1, *task.image_shape]))["drawings"]
    generation = draw.generate(weights, randomness.sample_noise(task, 32), task, trace=True)
    steps = [0, 3, 7, 10, 13, 17, 20, 23, 27, 30]
    expected = tf.sigmoid(generation.canvases).numpy()[steps, :8].swapaxes(0, 1)
    np.testing.assert_allclose(drawings.images, expected, atol=1e-5)


def test_glimpses_are_those_of_the_classifier():
    case = tiny.make_classifier_case()
    weights = tiny.tensors(case.weights, np.float32)
    x = tf.constant(case.x, tf.float32)
    glimpses = objective.for_task(case.task).sheets(weights, (x, tf.constant(case.labels)))["glimpses"]
    windows = ram.classify(weights, x, case.task, trace=True).windows.numpy()[:, :8].swapaxes(0, 1)
    np.testing.assert_allclose(glimpses.windows, windows, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(glimpses.images, x.numpy()[:8, None].repeat(tiny.STEPS, axis=1))
    assert case.task.read == glimpses.N
