"""The sheets for TensorBoard: where images and frames lie, and that they are those of the weights."""

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.model import draw, ram
from trainer.training import objective, pictures, randomness

VERMILION = (213, 94, 0)


def test_images_stand_in_rows_each_pixel_a_square():
    images = np.random.default_rng(0).uniform(size=(2, 3, 28, 30, 1))
    sheet = pictures.sheet(images)
    assert sheet.dtype == np.uint8 and sheet.shape == (1, 2 * 58 - 2, 3 * 62 - 2, 1)
    for row, column in np.ndindex(2, 3):
        block = sheet[0, 58 * row :, 62 * column :][:56, :60, 0]
        expected = np.rint(255 * images[row, column, ..., 0]).repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(block, expected)


def test_a_frame_lies_around_the_filters_centres_the_wider_the_more_precise():
    # 28 rows, 42 columns: a pixel is 2 x 2. N = 4 reaches one and a half strides to either side.
    windows = np.array([[[20, 10, 4.0, 1.0, 1], [5, 20, 2.0, 9.0, 1], [1e12, -1e12, 1e9, 1e30, 1]]])
    sheet = pictures.sheet(np.zeros((1, 3, 28, 42, 1)), windows, filters=4)[0]
    framed = (sheet == VERMILION).all(axis=-1)
    for column, (x, y, stride, border) in enumerate(((20, 10, 4, 3), (5, 20, 2, 1))):
        image = framed[:, 86 * column : 86 * column + 84]
        ys, xs = np.nonzero(image)
        assert (xs.min(), xs.max() + 1) == (2 * (x - 1.5 * stride + 0.5), 2 * (x + 1.5 * stride + 0.5))
        assert (ys.min(), ys.max() + 1) == (2 * (y - 1.5 * stride + 0.5), 2 * (y + 1.5 * stride + 0.5))
        assert image[2 * y].sum() == 2 * border
    assert not framed[:, 172:].any()


@pytest.mark.parametrize("kind", ["attention", "no_attention_colour"])
def test_the_drawings_end_with_the_samples(kind):
    task = tiny.MODELS[kind]
    parameters = tiny.tensors(tiny.make_case(task).parameters, np.float32)
    shown = objective.of(task).pictures(parameters, tf.zeros([1, *task.image_shape]))
    z = randomness.sample_noise(task, 32)
    images = tf.sigmoid(draw.generate(parameters, z, task).canvas).numpy()
    np.testing.assert_allclose(
        shown["samples"].astype(int), pictures.sheet(images.reshape(4, 8, *task.image_shape)), atol=1
    )
    # 7 x 5 at 12 times their size, eight rows of all six steps; a frame covers some of the last.
    assert shown["drawings"].shape == (1, 8 * 86 - 2, 6 * 62 - 2, 3)
    last = shown["drawings"][0, :84, 5 * 62 :]
    same = np.abs(last.astype(int) - pictures.sheet(images[:1, None])[0]) <= 1
    assert same.all() if kind == "no_attention_colour" else 0.2 < same.mean() <= 1


def test_glimpses_are_those_of_the_classifier():
    case = tiny.make_classifier_case()
    parameters = tiny.tensors(case.parameters, np.float32)
    x = tf.constant(case.x, tf.float32)
    shown = objective.of(case.task).pictures(parameters, (x, tf.constant(case.labels)))["glimpses"]
    windows = ram.classify(parameters, x, case.task, trace=True).windows.numpy()[:, :8].swapaxes(0, 1)
    images = x.numpy()[:8, None].repeat(tiny.STEPS, axis=1)
    np.testing.assert_array_equal(shown, pictures.sheet(images, windows, filters=case.task.read))
