"""Binarisation of one image, with images that are neither square nor of one value."""

from __future__ import annotations

import numpy as np
import pytest

from components.image_example_gen.binarise import binarise
from trainer.task import Binarisation

IMAGE = np.array([[[0], [1], [127]], [[128], [254], [255]]], np.uint8)


def test_grey_images_stay() -> None:
    np.testing.assert_array_equal(binarise(IMAGE, Binarisation.NONE, seed=0, example_id=b"a"), IMAGE)


def test_the_threshold_lies_between_127_and_128() -> None:
    binary = binarise(IMAGE, Binarisation.THRESHOLD, seed=0, example_id=b"a")
    assert binary.dtype == np.uint8
    assert binary.tolist() == [[[0], [0], [0]], [[1], [1], [1]]]


def test_given_pixels_are_checked_and_stay() -> None:
    given = (IMAGE > 100).astype(np.uint8)
    np.testing.assert_array_equal(binarise(given, Binarisation.GIVEN, seed=0, example_id=b"a"), given)
    with pytest.raises(ValueError, match=r"a pixel is 2, .* must be 0 or 1"):
        binarise(given * 2, Binarisation.GIVEN, seed=0, example_id=b"a")


def test_stochastic_pixels_are_one_with_the_intensity_as_probability() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (20_000, 1))[..., None]
    binary = binarise(ramp, Binarisation.STOCHASTIC, seed=3, example_id=b"ramp")[..., 0]
    assert binary.dtype == np.uint8
    assert set(np.unique(binary)) == {0, 1}
    assert not binary[:, 0].any()
    assert binary[:, 255].all()
    probability = np.arange(256) / 255
    error = (binary.mean(axis=0) - probability)[1:255] / np.sqrt(probability * (1 - probability) / 20_000)[1:255]
    # 254 standard normals: their greatest is below 4.5, and their mean square near 1.
    assert np.abs(error).max() < 4.5
    assert 0.7 < np.square(error).mean() < 1.3


def test_stochastic_pixels_depend_on_seed_and_id_alone() -> None:
    grey = np.full((9, 7, 1), 128, np.uint8)

    def draw(seed: int, example_id: bytes) -> bytes:
        return binarise(grey, Binarisation.STOCHASTIC, seed=seed, example_id=example_id).tobytes()

    assert draw(0, b"a") == draw(0, b"a")
    assert len({draw(0, b"a"), draw(1, b"a"), draw(0, b"b"), draw(0, b"1:a"), draw(10, b"a")}) == 5


def test_stochastic_pixels_are_these_for_ever() -> None:
    """Another version of NumPy must not change the data that models were compared on."""
    grey = np.full((4, 8, 1), 128, np.uint8)
    bits = binarise(grey, Binarisation.STOCHASTIC, seed=0, example_id=b"digits-00042")
    assert np.packbits(bits).tobytes().hex() == "d070c8f3"


def test_a_rule_for_several_splits_is_refused() -> None:
    with pytest.raises(ValueError, match="split_binarisation"):
        binarise(IMAGE, Binarisation.STOCHASTIC_EACH_EPOCH, seed=0, example_id=b"a")
