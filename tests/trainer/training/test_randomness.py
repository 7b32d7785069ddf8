"""Noise is a function of integers: of the row's seed whatever the batch, of the stream, the step and the id."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.training import randomness

TASK = tiny.tiny_task()
MARGIN = (40_000, 70_000)  # so large that no two draws of a few corners are equal by chance
SHAPE = (tiny.STEPS, tiny.BATCH, tiny.LATENTS)


def seeds(count, first=0):
    return tf.stack(
        [tf.range(first, first + count, dtype=tf.int64), tf.fill([count], tf.constant(7, tf.int64))], axis=1
    )


def test_a_rows_noise_does_not_depend_on_its_batch():
    whole = randomness.row_noise(TASK, seeds(tiny.BATCH)).numpy()
    assert whole.shape == SHAPE
    order = [6, 0, 9]
    part = randomness.row_noise(TASK, tf.gather(seeds(tiny.BATCH), order)).numpy()
    np.testing.assert_array_equal(part, whole[:, order])
    np.testing.assert_array_equal(randomness.row_noise(TASK, seeds(1, 4))[:, 0], whole[:, 4])
    assert randomness.row_noise(TASK, seeds(0)).shape == [tiny.STEPS, 0, tiny.LATENTS]


def test_both_numbers_of_a_seed_count_and_in_their_order():
    rows = tf.constant([[1, 2], [2, 1], [1, 3], [2, 2], [1, 2 + 2**32], [-1, 2]], tf.int64)
    noise = np.moveaxis(randomness.row_noise(TASK, rows).numpy(), 1, 0).reshape(len(rows), -1)
    assert len(np.unique(noise, axis=0)) == len(rows)


def test_row_noise_is_standard_normal_and_uncorrelated_between_neighbouring_seeds():
    row_noise = tf.function(lambda rows: randomness.row_noise(TASK, rows))
    noise = np.moveaxis(row_noise(seeds(2_000)).numpy(), 1, 0).reshape(2_000, -1)
    # 24,000 draws: the standard error of the mean is 0.0065, of the variance 0.0091.
    assert abs(noise.mean()) < 0.03 and abs(noise.var() - 1) < 0.04
    assert abs((noise[:-1] * noise[1:]).mean()) < 0.03


def with_margin(task, margin):
    return dataclasses.replace(task, data=dataclasses.replace(task.data, crop_margin=margin))


STREAMS = {
    "training": lambda task, index: randomness.training_noise(task, tf.constant(index), tiny.BATCH),
    "pixels": lambda task, index: randomness.binarised(
        task, tf.constant(index), tf.fill([tiny.BATCH, *task.image_shape], 0.5)
    ),
    "corners": lambda task, index: randomness.crop_corners(with_margin(task, MARGIN), tf.constant(index), tiny.BATCH),
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_a_stream_is_a_function_of_the_tasks_seed_and_the_index(stream, request):
    request.addfinalizer(lambda: tf.random.set_seed(None))
    draws = {}
    for seed, index in itertools.product((0, 1, 2), (0, 1, 5)):
        task = tiny.tiny_task({"seed": seed})
        draws[seed, index] = stream(task, index).numpy()
        tf.random.set_seed(index)
        np.testing.assert_array_equal(stream(task, index), draws[seed, index])
    assert len({value.tobytes() for value in draws.values()}) == 9


def test_streams_that_share_a_seed_do_not_share_noise():
    # Seeds up to 20, so that a stream's number cannot be taken for another seed's.
    drawn = set()
    for seed in range(20):
        task = tiny.tiny_task({"seed": seed})
        drawn |= {STREAMS["training"](task, 0).numpy().tobytes()}
        drawn |= {randomness.sample_noise(task, tiny.BATCH).numpy().tobytes()}
    assert len(drawn) == 40


def test_every_draw_has_a_stream_of_its_own(monkeypatch):
    """Two laws drawn from one stream would go up and down together."""
    seeds, real = [], randomness._seed
    monkeypatch.setattr(
        randomness, "_seed", lambda task, stream, index: seeds.append(stream) or real(task, stream, index)
    )
    for stream in STREAMS.values():
        stream(TASK, 0)
    randomness.sample_noise(TASK, 3)
    assert len(seeds) == len(set(seeds)) == 5


def test_noise_has_the_shapes_and_the_law_it_should():
    assert STREAMS["training"](TASK, 0).shape == randomness.sample_noise(TASK, tiny.BATCH).shape == SHAPE


def test_a_pixel_is_one_as_often_as_its_intensity_says():
    intensities = np.linspace(0.0, 1.0, np.prod(TASK.image_shape), dtype=np.float32).reshape(TASK.image_shape)
    pixels = randomness.binarised(TASK, tf.constant(0), tf.tile(intensities[None], [3_000, 1, 1, 1])).numpy()
    assert pixels.dtype == np.float32 and set(np.unique(pixels)) == {0.0, 1.0}
    # Never where the intensity is 0, always where it is 1; the standard error of a mean is 0.009 at most.
    assert pixels[:, 0, 0].max() == 0.0 and pixels[:, -1, -1].min() == 1.0
    np.testing.assert_allclose(pixels.mean(axis=0), intensities, atol=0.04)


def test_corners_reach_every_place_of_a_crop_alike_and_rows_apart_from_columns():
    corners = randomness.crop_corners(with_margin(TASK, (2, 4)), tf.constant(3), 30_000).numpy()
    assert corners.shape == (30_000, 2) and corners.dtype == np.int32
    places = np.zeros((3, 5), int)
    np.add.at(places, tuple(corners.T), 1)
    # Each of 15 places is expected 2,000 times with a standard deviation of 43.
    assert places.sum() == 30_000 and abs(places - 2_000).max() < 200


def test_equal_margins_give_every_pair_of_a_row_and_a_column():
    """With one stream for both, crops would lie on the diagonal alone."""
    corners = randomness.crop_corners(with_margin(TASK, (3, 3)), tf.constant(3), 2_000).numpy()
    assert {tuple(corner) for corner in corners.tolist()} == set(itertools.product(range(4), repeat=2))


def test_without_a_margin_there_is_one_place():
    np.testing.assert_array_equal(randomness.crop_corners(TASK, tf.constant(3), 6), np.zeros((6, 2)))


def test_ids_give_distinct_seeds_that_do_not_depend_on_the_batch():
    ids = tf.constant([f"example-{index}" for index in range(10_000)] + ["", "exämple", "a" * 300])
    rows = randomness.seeds_for_ids(ids).numpy()
    assert rows.shape == (10_003, 2) and rows.dtype == np.int64
    # Both halves: one of them alone would do to tell the examples apart.
    assert [len(np.unique(rows[:, half])) for half in (0, 1)] == [10_003, 10_003]
    np.testing.assert_array_equal(randomness.seeds_for_ids(ids[4:5])[0], rows[4])


def test_seeds_for_ids_are_the_same_in_every_version_and_on_every_host():
    """Numbers written down when this was made: a bound reported last year must be had again."""
    np.testing.assert_array_equal(
        randomness.seeds_for_ids(tf.constant(["test-7"])), [[49695322657497796, 2542333486885800929]]
    )
    noise = randomness.row_noise(TASK, tf.constant([[1, 2]], tf.int64))[:2, 0]
    np.testing.assert_allclose(noise, [[0.5441101, 0.20738031], [0.07356432, 0.04643455]], rtol=1e-5)
