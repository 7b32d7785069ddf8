"""Moments against NumPy's own, however the examples are cut into parts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from components.evaluator.moments import Moments, merge_summaries


def _merged(values: np.ndarray, cuts: list[int]) -> Moments:
    parts = [{"x": Moments.from_values(part)} for part in np.split(values, cuts)]
    return merge_summaries(parts)["x"]


@pytest.mark.parametrize("cuts", [[], [1], [5, 6, 40], list(range(1, 57))], ids=str)
@pytest.mark.parametrize("shape", [(57,), (57, 3)])
def test_parts_of_any_size_give_the_moments_of_the_whole(cuts: list[int], shape: tuple[int, ...]) -> None:
    values = np.random.RandomState(1).gamma(2.0, 30.0, shape)
    moments = _merged(values, cuts)
    assert moments.count == 57
    assert moments.non_finite == 0
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.standard_deviation, values.std(axis=0, ddof=1), rtol=1e-13)
    np.testing.assert_allclose(moments.standard_error, values.std(axis=0, ddof=1) / np.sqrt(57), rtol=1e-13)


@pytest.mark.parametrize("cuts", [[], list(range(1, 200))], ids=["at once", "one by one"])
def test_a_large_mean_does_not_swallow_the_spread(cuts: list[int]) -> None:
    values = 1e9 + np.random.RandomState(2).normal(size=200)
    assert float(_merged(values, cuts).standard_deviation) == pytest.approx(values.std(ddof=1), rel=1e-6)


def test_float32_values_are_summed_in_float64() -> None:
    values = np.full(1000, 0.1, np.float32)
    assert float(Moments.from_values(values).mean) == pytest.approx(float(np.float32(0.1)), rel=1e-14)


def test_examples_that_are_not_finite_are_counted() -> None:
    values = np.array([[1.0, np.nan], [2.0, 3.0], [np.inf, -np.inf], [4.0, 5.0]])
    assert [_merged(values, cuts).non_finite for cuts in ([], [1, 2])] == [2, 2]
    assert not np.isfinite(_merged(values, [1, 2]).mean).any()


def test_one_example_has_no_spread() -> None:
    moments = Moments.from_values(np.array([3.5]))
    assert moments.mean == 3.5
    assert np.isnan(moments.standard_deviation)
    assert np.isnan(moments.standard_error)


def test_a_part_may_lack_a_quantity() -> None:
    merged = merge_summaries([{"x": Moments.from_values(np.ones(2))}, {"y": Moments.from_values(np.ones(3))}, {}])
    assert {name: moments.count for name, moments in merged.items()} == {"x": 2, "y": 3}
    assert merge_summaries([]) == {}


def test_json_keeps_every_digit() -> None:
    moments = Moments.from_values(np.array([[0.1, np.nan], [0.2, 1 / 3]]))
    again = Moments.from_json(json.loads(json.dumps(moments.to_json())))
    np.testing.assert_array_equal(again.mean, moments.mean)
    np.testing.assert_array_equal(again.squares, moments.squares)
    assert (again.count, again.non_finite) == (2, 1)
