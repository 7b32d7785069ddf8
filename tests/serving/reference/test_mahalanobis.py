"""The distance is that of the formula, and an image of the fit is as far as from a fit without it."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from serving.reference.complexity import complexity
from serving.reference.mahalanobis import Mahalanobis


def _statistics(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    kl = rng.gamma(9.0, 2.0, count)
    return {"reconstruction": 3 * kl + rng.normal(60, 5, count), "kl": kl, "complexity": rng.gamma(20.0, 20.0, count)}


def test_the_distance_is_that_of_the_formula() -> None:
    known, new = _statistics(400), _statistics(7, seed=1)
    fit = Mahalanobis.fit(known)
    columns, away = np.stack(list(known.values())), np.stack(list(new.values()))
    inverse = np.linalg.inv(np.cov(columns))
    expected = [np.sqrt((row - columns.mean(axis=1)) @ inverse @ (row - columns.mean(axis=1))) for row in away.T]
    np.testing.assert_allclose(fit.distances(new), expected, rtol=1e-6)


@pytest.mark.parametrize("count", [30, 200])
def test_an_image_of_the_fit_is_as_far_as_from_a_fit_without_it(count: int) -> None:
    known = _statistics(count)
    found = Mahalanobis.fit(known).distances_without_each(known)
    for place in (0, 5, count - 1):
        others = {name: np.delete(values, place) for name, values in known.items()}
        alone = {name: values[place : place + 1] for name, values in known.items()}
        assert found[place] == pytest.approx(Mahalanobis.fit(others).distances(alone)[0], rel=1e-4)


def test_a_feature_that_never_varies_does_no_harm() -> None:
    known = {**_statistics(50), "complexity": np.full(50, 4.0)}
    fit = Mahalanobis.fit(known)
    assert np.isfinite(fit.distances_without_each(known)).all()
    other = {name: values[:1] for name, values in known.items()}
    assert fit.distances({**other, "complexity": np.array([5.0])})[0] > 100


def test_the_complexity_is_the_size_of_a_pngs_pixels() -> None:
    image = np.zeros((2, 3, 10, 1), np.float32)
    image[1, 1, [0, 9]] = 1
    rows = [bytes([0, 0, 0]), bytes([0, 0b10000000, 0b01000000]), bytes([0, 0, 0])]
    sizes = complexity(image)
    assert sizes[1] == pytest.approx(8 * np.log(2) * len(zlib.compress(b"".join(rows), 9)))
    assert sizes[0] < sizes[1]
    noise = np.random.default_rng(0).integers(0, 2, (4, 28, 28, 3))
    # No compressor takes noise below its entropy.
    assert (complexity(noise) > 28 * 28 * 3 * np.log(2)).all()
