"""The sketch of a batch, merged in any order, gives the statistics that all of its values give."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from scipy import stats

from serving.reference.distribution import Distribution
from serving.reference.drift import Drift, DriftOf


def _values(count: int, *, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return shift + np.random.default_rng(seed).gamma(4.0, 20.0, count)


def _merged(drift: DriftOf, values: np.ndarray, parts: int) -> dict:
    sketches = [drift.sketch(part) for part in np.array_split(values, parts)]
    whole = drift.sketch(np.array([]))
    for place in np.random.default_rng(3).permutation(parts):
        whole = whole.merged(sketches[place])
    return drift.to_json(whole)


@pytest.mark.parametrize("shift", [0.0, 5.0, -40.0, 1000.0])
@pytest.mark.parametrize(("reference", "batch"), [(300, 7000), (999, 50), (5000, 4000), (20_000, 1)])
def test_the_statistics_are_the_exact_ones(reference: int, batch: int, shift: float) -> None:
    known, values = _values(reference), _values(batch, shift=shift, seed=1)
    found = _merged(DriftOf(Distribution.from_values(known)), values, parts=min(batch, 9))
    exact = stats.ks_2samp(known, values, method="asymp")
    allowed = 1e-12 if reference < 1000 else 1.01e-3
    assert exact.statistic - allowed <= found["ks"] <= exact.statistic + 1e-12
    assert found["shift"] == pytest.approx(values.mean() - known.mean(), rel=1e-9)
    if reference < 1000:
        assert found["p_value"] == pytest.approx(exact.pvalue, rel=1e-6, abs=1e-300)
    if batch > 1:
        welch = stats.ttest_ind(values, known, equal_var=False)
        assert found["shift_in_standard_errors"] == pytest.approx(welch.statistic, rel=1e-6)
    else:
        assert found["shift_in_standard_errors"] is None
    edges = [-np.inf, *found["histogram"]["edges"], np.inf]
    for name, counted in (("reference", known), ("batch", values)):
        expected = [np.sum((counted > low) & (counted <= high)) for low, high in itertools.pairwise(edges)]
        assert found["histogram"][name] == expected


def test_the_reference_itself_has_not_drifted() -> None:
    """Values at the very quantiles are told from those between them."""
    known = np.round(_values(500))  # with ties
    found = _merged(DriftOf(Distribution.from_values(known)), known, parts=7)
    assert found["ks"] == pytest.approx(0, abs=1e-12)
    assert found["p_value"] == pytest.approx(1)
    assert found["shift"] == pytest.approx(0, abs=1e-9)


def test_no_images_have_no_drift() -> None:
    drift = Drift({"nll_bound": Distribution.from_values(_values(30))})
    drift = pickle.loads(pickle.dumps(drift))
    found = drift.to_json(drift.sketch({"nll_bound": np.array([])}))["nll_bound"]
    assert found["ks"] is found["p_value"] is found["shift"] is None
    assert sum(found["histogram"]["batch"]) == 0


def test_a_sketch_is_as_large_for_a_million_values_as_for_one() -> None:
    drift = DriftOf(Distribution.from_values(_values(5000)))
    one, many = drift.sketch(_values(1)), drift.sketch(_values(1_000_000))
    assert (one.counts.nbytes, one.histogram.nbytes) == (many.counts.nbytes, many.histogram.nbytes)
