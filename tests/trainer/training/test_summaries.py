"""TensorBoard's pictures: where images and windows lie, and that they are those of the weights."""

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.model import draw, ram
from trainer.training import objective, randomness, summaries


def test_images_stand_in_rows_each_pixel_a_square():
    images = np.random.default_rng(0).uniform(size=(2, 3, 28, 30, 1))
    picture = summaries.picture(objective.Sheet(images))
    assert picture.dtype == np.uint8 and picture.shape == (1, 2 * 58 + 2, 3 * 62 + 2, 1)
    for row, column in np.ndindex(2, 3):
        block = picture[0, 2 + 58 * row :, 2 + 62 * column :][:56, :60, 0]
        expected = np.rint(255 * images[row, column, ..., 0]).repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(block, expected)


def test_each_image_has_its_own_window_the_wider_the_more_precise():
    # 28 rows, 42 columns: a pixel is 2 x 2. N = 4 reaches one and a half strides to either side.
    windows = np.array([[[20, 10, 4.0, 1.0, 1], [5, 20, 2.0, 9.0, 1], [1e12, -1e12, 1e9, 1e30, 1]]])
    picture = summaries.picture(objective.Sheet(np.zeros((1, 3, 28, 42, 1)), windows, 4))[0]
    coloured = picture[2:-2].max(axis=-1) > picture[2:-2].min(axis=-1)
    borders = []
    for column, (x, y, stride) in enumerate(((20, 10, 4), (5, 20, 2))):
        image = coloured[:, 2 + 86 * column :][:, :84]
        ys, xs = np.nonzero(image)
        for edges, centre in ((xs, x), (ys, y)):
            assert abs(edges.min() - 2 * (centre - 1.5 * stride + 0.5)) <= 1
            assert abs(edges.max() - 2 * (centre + 1.5 * stride + 0.5)) <= 1
        borders.append(image[2 * y].sum())
    assert borders[0] > borders[1] > 0
    assert not coloured[:, 2 + 172 :].any()


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
