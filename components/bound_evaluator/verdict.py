"""The gate: what a model's summary must satisfy to be blessed, and the reasons where it does not."""

from __future__ import annotations

import dataclasses
import math

from components.bound_evaluator.moments import Summary
from components.bound_evaluator.scoring import BASELINE_BOUND, DIFFERENCE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """In nats an image. Raises ValueError for a threshold that no comparison can be made with."""

    max_nll_bound: float
    tolerance: float
    """By how much the bound may be worse than the baseline's."""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value}; expected a finite number of nats an image.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Blessed where there is no reason against it."""

    reasons: tuple[str, ...]

    @property
    def blessed(self) -> bool:
        """Whether the model may be pushed."""
        return not self.reasons


def decide(overall: Summary, thresholds: Thresholds) -> Verdict:
    """Judges the summary of a whole split; with a baseline where it was scored too. Every failed condition is named."""
    reasons = [
        f"{name} is not finite for {moments.non_finite} of {moments.count} examples"
        for name, moments in overall.items()
        # The difference is not finite exactly where one of its two terms is not, and they speak for themselves.
        if moments.non_finite and name != DIFFERENCE
    ]
    if not reasons:
        bound = float(overall["nll_bound"].mean)
        if not bound <= thresholds.max_nll_bound:
            reasons.append(f"the bound is {bound:.4f} nats, above the greatest allowed, {thresholds.max_nll_bound:g}")
        if DIFFERENCE in overall:
            difference = float(overall[DIFFERENCE].mean)
            if not difference <= thresholds.tolerance:
                reasons.append(
                    f"the bound is {difference:.4f} nats (standard error "
                    f"{float(overall[DIFFERENCE].standard_error):.4f}) above the baseline's "
                    f"{float(overall[BASELINE_BOUND].mean):.4f}; tolerated is {thresholds.tolerance:g}"
                )
    return Verdict(reasons=tuple(reasons))
