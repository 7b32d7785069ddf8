"""A rate that a reference is too small for is refused; others come with what was to be expected."""

from __future__ import annotations

import pytest
from scipy import stats

from serving.reference.flag_rule import FlagRule


def _rule(rate: float, count: int, *, two_sided: bool = False) -> FlagRule:
    return FlagRule(by="bound", rate=rate, two_sided=two_sided, reference_count=count)


@pytest.mark.parametrize(
    ("rate", "count", "two_sided"),
    [(0.009, 100, False), (0.00999, 99, False), (0.01, 198, True), (0.0001, 5000, False), (0.5, 2, True)],
)
def test_a_rate_below_what_the_reference_can_show_is_refused(rate: float, count: int, two_sided: bool) -> None:
    with pytest.raises(ValueError, match=f"has {count:,} images, which is too few") as refusal:
        _rule(rate, count, two_sided=two_sided)
    need = int(str(refusal.value).split("at least ")[-1].split(" images")[0].replace(",", ""))
    _rule(rate, need, two_sided=two_sided)
    with pytest.raises(ValueError, match="too few"):
        _rule(rate, need - 1, two_sided=two_sided)


@pytest.mark.parametrize(("rate", "count", "two_sided"), [(0.01, 100, False), (0.01, 199, True), (0.01, 99, False)])
def test_the_smallest_rate_is_allowed(rate: float, count: int, two_sided: bool) -> None:
    assert _rule(rate, count, two_sided=two_sided).rate == rate


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_rate_is_a_share(rate: float) -> None:
    with pytest.raises(ValueError, match="expected more than 0 and less than 1"):
        _rule(rate, 1000)


def test_the_intervals_are_those_of_statistics() -> None:
    values = _rule(0.01, 999).to_json(images=2000, flagged=31)
    assert values["expected"] == pytest.approx(20.0)
    assert values["share"] == 31 / 2000
    limits = stats.binomtest(31, 2000).proportion_ci(method="wilson")
    assert values["share_interval_95"] == [limits.low, limits.high]
    assert values["rate_interval_95"] == pytest.approx(stats.beta(10, 990).interval(0.95))


def test_no_images_have_no_share() -> None:
    values = _rule(0.1, 99).to_json(images=0, flagged=0)
    assert (values["expected"], values["share"], values["share_interval_95"]) == (0, None, None)
