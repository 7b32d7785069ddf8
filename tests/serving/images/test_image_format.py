"""Pixels of files as the pixels that a model takes."""

from __future__ import annotations

import numpy as np
import pytest

from serving.images.bad_image import BadImage
from serving.images.image_format import ImageFormat

BINARY = ImageFormat(shape=(3, 2, 1), binary=True)
GREY = ImageFormat(shape=(3, 2, 1), binary=False)
COLOUR = ImageFormat(shape=(3, 2, 3), margin=(2, 3), binary=False)


def _grey(*values: float, dtype: type = np.uint8) -> np.ndarray:
    return np.array(values, dtype).reshape(3, 2)


@pytest.mark.parametrize("white", [1, 255])
def test_binarised_pixels_are_0_and_1_or_0_and_255(white: int) -> None:
    image = BINARY.from_bytes(bytes([0, white, 0, 0, white, white]))
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, _grey(0, 1, 0, 0, 1, 1)[..., None])


def test_integers_of_intensities_are_always_divided() -> None:
    np.testing.assert_array_equal(GREY.from_pixels(_grey(0, 1, 0, 0, 0, 0)).ravel()[1], np.float32(1 / 255))
    np.testing.assert_array_equal(
        GREY.from_pixels(_grey(0, 0.5, 0, 0, 0, 1, dtype=np.float64)).ravel()[[1, 5]], [0.5, 1]
    )
    np.testing.assert_array_equal(GREY.from_pixels(_grey(0, 1, 0, 0, 0, 1, dtype=bool)).ravel()[[1, 5]], [1, 1])


def test_grey_may_lie_in_one_row() -> None:
    np.testing.assert_array_equal(GREY.from_pixels(np.arange(6)), GREY.from_pixels(np.arange(6).reshape(3, 2)))


def test_a_threshold_makes_pixels_0_and_1() -> None:
    binary = ImageFormat(shape=(3, 2, 1), binary=True, threshold=0.5)
    np.testing.assert_array_equal(binary.from_pixels(_grey(0, 127, 128, 255, 3, 200)).ravel(), [0, 0, 1, 1, 0, 1])
    np.testing.assert_array_equal(binary.from_pixels(_grey(0, 1, 1, 0, 0, 0)).ravel(), np.zeros(6))  # dark, not white


def test_of_a_larger_image_the_centre_is_taken() -> None:
    stored = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(5, 5, 3)
    expected = stored[1:4, 1:3].astype(np.float32) / 255
    np.testing.assert_array_equal(COLOUR.from_bytes(stored.tobytes()), expected)
    np.testing.assert_array_equal(COLOUR.from_pixels(stored), expected)
    np.testing.assert_array_equal(COLOUR.from_pixels(stored[1:4, 1:3]), expected)


@pytest.mark.parametrize(
    ("images", "pixels", "message"),
    [
        (GREY, np.zeros((2, 3), np.uint8), r"its shape is \[2, 3\]; expected \[3, 2, 1\]"),
        (COLOUR, np.zeros(3 * 2 * 3), r"its shape is \[18\]; expected \[3, 2, 3\] or"),
        (COLOUR, np.zeros((4, 5, 3)), r"its shape is \[4, 5, 3\]; expected \[3, 2, 3\] or \[5, 5, 3\]"),
        (GREY, _grey(0, 0, 0, 0, 0, 256, dtype=np.int32), "from 0 to 256; expected integers from 0 to 255"),
        (GREY, _grey(0, 0, 0, 0, 0, 1.5, dtype=np.float32), "from 0 to 1.5; expected floats"),
        (GREY, _grey(0, 0, 0, 0, 0, np.nan, dtype=np.float32), "from nan to nan"),
        (GREY, np.zeros((3, 2), complex), "complex128; expected integers or floats"),
        (BINARY, _grey(0, 1, 2, 0, 0, 0), "not 0 or 1 alone"),
        (BINARY, _grey(0, 1, 0.5, 0, 0, 0, dtype=np.float32), "not 0 or 1 alone"),
    ],
)
def test_what_a_model_does_not_take_is_told(images: ImageFormat, pixels: np.ndarray, message: str) -> None:
    with pytest.raises(BadImage, match=message):
        images.from_pixels(pixels)


def test_bytes_of_another_number_are_told() -> None:
    with pytest.raises(BadImage, match=r"it has 7 bytes; expected 18 or 75"):
        COLOUR.from_bytes(bytes(7))
