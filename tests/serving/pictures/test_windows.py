"""Windows in NumPy beside the transcription of the paper: filters, rectangles, and the frames that are painted."""

from __future__ import annotations

import numpy as np
import pytest

from serving.pictures import windows
from tests.reference import draw as reference

HEIGHT, WIDTH, CHANNELS, N = 7, 11, 3, 4
WINDOWS = ([4.25, 2.5, 1.75, 0.8, 1.6], [-3.0, 9.0, 0.3, 0.01, 0.4], [500.0, -200.0, 40.0, 0.5, 2.0])


@pytest.mark.parametrize("window", WINDOWS)
def test_filters_extract_and_put_back_what_the_reference_does(window: list[float]) -> None:
    rng = np.random.default_rng(3)
    image, patch = rng.uniform(size=(HEIGHT, WIDTH, CHANNELS)), rng.normal(size=(N, N, CHANNELS))
    x, y, stride, variance, intensity = window
    # The paper counts pixels from 1, a signature from 0.
    f_x, f_y = reference.filterbank(x + 1, y + 1, stride, variance, N, WIDTH, HEIGHT)
    filters = windows.filterbank(np.array(window), image.shape, N)
    np.testing.assert_allclose(filters.f_x, f_x, atol=1e-12)
    np.testing.assert_allclose(filters.f_y, f_y, atol=1e-12)
    np.testing.assert_allclose(
        windows.extract(image, np.array(window), N), reference.read_patch(image, f_x, f_y, intensity), atol=1e-12
    )
    np.testing.assert_allclose(
        windows.put_back(patch, np.array(window), image.shape),
        reference.write_attention(patch, f_x, f_y, intensity),
        atol=1e-12,
    )


def test_windows_of_many_images_and_steps_are_computed_together() -> None:
    window = np.random.default_rng(5).uniform(0.5, 6, (2, 3, 5))
    together = windows.filterbank(window, (HEIGHT, WIDTH), N)
    assert together.f_x.shape == (2, 3, N, WIDTH) and together.f_y.shape == (2, 3, N, HEIGHT)
    columns, rows = windows.filter_centres(window, N)
    for place in np.ndindex(2, 3):
        alone = windows.filterbank(window[place], (HEIGHT, WIDTH), N)
        np.testing.assert_allclose(together.f_x[place], alone.f_x)
        np.testing.assert_allclose(together.f_y[place], alone.f_y)
        left, top, right, bottom = windows.rectangle(window, N)[place]
        np.testing.assert_allclose([columns[place][0], columns[place][-1]], [left, right])
        np.testing.assert_allclose([rows[place][0], rows[place][-1]], [top, bottom])


def test_a_filter_without_width_is_the_nearest_pixel() -> None:
    f_x, _ = windows.filterbank(np.array([2.2, 3.0, 1.0, 0.0, 1.0]), (HEIGHT, WIDTH), 3)
    np.testing.assert_array_equal(f_x, np.eye(WIDTH)[[1, 2, 3]])


def test_the_rectangle_is_that_of_the_filters_centres() -> None:
    # Eqs. 19 and 20 with N = 4: offsets -1.5, -0.5, 0.5 and 1.5 strides.
    assert windows.rectangle(np.array([10.0, 20.0, 3.0, 1.0, 1.0]), 4).tolist() == [5.5, 15.5, 14.5, 24.5]


def test_a_frame_is_the_wider_the_more_precise_the_filters() -> None:
    np.testing.assert_array_equal(windows.frame_widths(np.array([[1.0, 0.25, 16.0, 1e9]]), 8), [[4, 8, 1, 1]])
    np.testing.assert_allclose(windows.relative_precision(np.array([4.0, 1.0, 16.0])), [0.5, 1, 0.25])


def test_a_frame_is_painted_inside_the_rectangle() -> None:
    # 6 rows, 9 columns, each pixel 2 x 2; N = 3 reaches one stride to either side.
    pixels = np.zeros((12, 18, 3), np.uint8)
    windows.draw_frame(pixels, np.array([4, 3, 2, 1, 1]), 3, factor=2, colour=(9, 8, 7), width=2)
    expected = np.zeros((12, 18), bool)
    expected[3:11, 5:13] = True
    expected[5:9, 7:11] = False
    np.testing.assert_array_equal((pixels == (9, 8, 7)).all(axis=-1), expected)
    assert not pixels[~expected].any()


def test_a_window_of_no_size_is_still_seen_and_one_beyond_the_image_is_not() -> None:
    pixels = np.zeros((12, 18), np.uint8)
    windows.draw_frame(pixels, np.array([4, 3, 0.01, 1, 1]), 3, factor=2, colour=5, width=1)
    assert (pixels == 5).sum() == 1 and pixels[7, 9] == 5
    untouched = pixels.copy()
    windows.draw_frame(pixels, np.array([1e12, -1e12, 1e9, 1e-30, 1]), 3, factor=2, colour=7, width=3)
    np.testing.assert_array_equal(pixels, untouched)
