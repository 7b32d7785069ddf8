"""The filters of a window that a signature gives, beside the transcription of the paper."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.paper import filters
from tests.reference import draw as reference

HEIGHT, WIDTH, CHANNELS, N = 7, 11, 3, 4
WINDOWS = ([4.25, 2.5, 1.75, 0.8, 1.6], [-3.0, 9.0, 0.3, 0.01, 0.4], [500.0, -200.0, 40.0, 0.5, 2.0])


@pytest.mark.parametrize("window", WINDOWS)
def test_they_extract_and_put_back_what_the_reference_does(window: list[float]) -> None:
    rng = np.random.default_rng(3)
    image, patch = rng.uniform(size=(HEIGHT, WIDTH, CHANNELS)), rng.normal(size=(N, N, CHANNELS))
    x, y, stride, variance, intensity = window
    # The paper counts pixels from 1, a signature from 0.
    f_x, f_y = reference.filterbank(x + 1, y + 1, stride, variance, N, WIDTH, HEIGHT)
    found = filters.filterbank(np.array(window), image.shape, N)
    np.testing.assert_allclose(found.f_x, f_x, atol=1e-12)
    np.testing.assert_allclose(found.f_y, f_y, atol=1e-12)
    np.testing.assert_allclose(
        filters.extract(image, np.array(window), N), reference.read_patch(image, f_x, f_y, intensity), atol=1e-12
    )
    np.testing.assert_allclose(
        filters.put_back(patch, np.array(window), image.shape),
        reference.write_attention(patch, f_x, f_y, intensity),
        atol=1e-12,
    )
