"""The kept order statistics say of new values what all values would have said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.reference.distribution import Distribution

COUNTS = (1, 2, 39, 1000, 4001)


def _values(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(4.0, 20.0, count)


@pytest.mark.parametrize("count", COUNTS)
def test_a_file_keeps_it_to_seven_digits(count: int) -> None:
    made = Distribution.from_values(_values(count))
    read = Distribution.from_json(json.loads(json.dumps(made.to_json(), allow_nan=False)))
    assert (read.count, read.ranks.tolist(), read.histogram.tolist()) == (
        count,
        made.ranks.tolist(),
        made.histogram.tolist(),
    )
    np.testing.assert_allclose(read.quantiles, made.quantiles, rtol=1e-6)
    assert made.histogram.sum() == count and len(made.ranks) < 1100


@pytest.mark.parametrize("count", COUNTS)
def test_a_rank_is_that_among_all_values_within_a_thousandth(count: int) -> None:
    values, new = _values(count), np.linspace(0, 300, 501)
    exact = np.searchsorted(np.sort(values), new, "right")
    assert np.abs(Distribution.from_values(values).rank(new) - exact).max() <= 1 + count / 1000


def test_p_values_of_new_values_are_uniform() -> None:
    reference = Distribution.from_values(_values(4001))
    new = _values(20_000, seed=1)
    for p_values in (reference.upper_p(new), reference.two_sided_p(new), reference.percentile(new) / 100):
        for share in (0.001, 0.01, 0.1, 0.5):
            # Of the reference itself and of the new values, four standard errors.
            error = np.sqrt(share * (1 - share) * (1 / 4001 + 1 / 20_000))
            assert np.mean(p_values <= share) == pytest.approx(share, abs=4 * error)


@pytest.mark.parametrize("count", COUNTS)
def test_nothing_is_rarer_than_the_reference_can_show(count: int) -> None:
    reference = Distribution.from_values(_values(count))
    beyond = np.array([-1e9, 1e9])
    np.testing.assert_allclose(reference.upper_p(beyond), [count / (count + 1), 1 / (count + 1)])
    np.testing.assert_allclose(reference.two_sided_p(beyond), min(1, 2 / (count + 1)))
    np.testing.assert_allclose(reference.percentile(beyond), [100 / (count + 1), 100 * count / (count + 1)])


def test_a_value_that_the_reference_has_many_times_is_usual() -> None:
    constant = Distribution.from_values(np.full(500, 7.0))
    assert constant.two_sided_p(np.array([7.0])) == 1.0
    assert constant.two_sided_p(np.array([7.1])) < 0.01
    half = Distribution.from_values(np.concatenate([np.zeros(300), np.linspace(1, 2, 300)]))
    assert half.percentile(np.zeros(1)) == pytest.approx(25, abs=0.2)
    assert half.two_sided_p(np.zeros(1)) == pytest.approx(1, abs=0.01)  # as half of all images are


@pytest.mark.parametrize("count", [5, 100])
def test_p_values_are_conformal_for_scores_that_repeat(count: int) -> None:
    rng = np.random.default_rng(4)
    p_values = []
    for _ in range(1000):
        *known, new = rng.integers(0, 3, count + 1)
        reference = Distribution.from_values(np.array(known))
        p_values.append([reference.upper_p(np.array([new]))[0], reference.two_sided_p(np.array([new]))[0]])
    for share in (0.2, 0.4, 0.6):
        assert (np.mean(np.array(p_values) <= share, axis=0) <= share + 4 * np.sqrt(share * (1 - share) / 1000)).all()


@pytest.mark.parametrize("probability", [0.0005, 0.001, 0.025, 0.5, 0.975, 0.999])
def test_quantiles_are_those_of_all_values(probability: float) -> None:
    values = _values(4001)
    expected = np.quantile(values, probability, method="weibull")
    assert Distribution.from_values(values).quantile(probability) == pytest.approx(expected, rel=1e-2)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(-2e6, 2e6))
def test_a_higher_value_never_has_a_lower_rank(values: list[float], new: float) -> None:
    distribution = Distribution.from_values(np.array(values))
    ranks = distribution.rank(np.sort(np.array([*values, new])))
    assert (np.diff(ranks) >= 0).all() and ranks.min() >= 1 and ranks.max() <= len(values)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]])
def test_no_distribution_is_made_of_what_is_not_finite(values: list[float]) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Distribution.from_values(np.array(values))
