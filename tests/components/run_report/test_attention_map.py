"""Coverage against filters that are written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from components.run_report.attention_map import coverage

HEIGHT, WIDTH, SIZE = 7, 5, 3


def _filter(centre: float, stride: float, variance: float, pixels: int) -> list[list[float]]:
    """Eqs. 19 and 25 in the paper's own counting, from 1."""
    rows = []
    for i in range(1, SIZE + 1):
        mean = (centre + 1) + (i - SIZE / 2 - 0.5) * stride
        row = [math.exp(-((a - mean) ** 2) / (2 * variance)) for a in range(1, pixels + 1)]
        rows.append([value / sum(row) for value in row])
    return rows


def test_coverage_is_the_mean_of_the_filters_over_images_and_filters() -> None:
    windows = np.random.default_rng(3).uniform(0.6, 1.6, (4, 2, 5)) + np.array([1, 1.5, 0, 0, 0])
    expected = np.zeros((2, HEIGHT, WIDTH))
    for image in windows:
        for step, (x, y, stride, variance, _) in enumerate(image):
            f_x, f_y = _filter(x, stride, variance, WIDTH), _filter(y, stride, variance, HEIGHT)
            for row in f_y:
                for column in f_x:
                    expected[step] += np.outer(row, column) / SIZE**2 / len(windows)
    by_step, inside = coverage(windows, SIZE, (HEIGHT, WIDTH, 3))
    np.testing.assert_allclose(by_step, expected, rtol=1e-10)
    assert inside == pytest.approx(1)


def test_filters_beyond_the_image_are_left_out_and_one_without_width_is_a_pixel() -> None:
    # Of the three filters along a side, those at -2 are outside, those at 0.6 and 3.2 lie on pixels 1 and 3.
    windows = np.array([[[0.6, 2.0, 2.6, 0.0, 1.0]]])
    by_step, inside = coverage(windows, SIZE, (20, WIDTH, 1))
    assert inside == pytest.approx(2 / 3 * 2 / 3)
    assert np.flatnonzero(by_step[0].sum(axis=0)).tolist() == [1, 3]
