"""The gate: what a model's summary must satisfy to be blessed, and the reasons where it does not."""

from __future__ import annotations

import dataclasses
import math

from components.bound_evaluator.scoring import SCORING
from components.evaluation.moments import Summary
from components.evaluation.verdict import Verdict, not_finite


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


def decide(overall: Summary, thresholds: Thresholds) -> Verdict:
    """Judges the summary of a whole split; with a baseline where it was scored too. Every failed condition is named."""
    reasons = not_finite(overall, SCORING.difference)
    if not reasons:
        bound = float(overall["nll_bound"].mean)
        if not bound <= thresholds.max_nll_bound:
            reasons.append(f"the bound is {bound:.4f} nats, above the greatest allowed, {thresholds.max_nll_bound:g}")
        if SCORING.difference in overall:
            difference = float(overall[SCORING.difference].mean)
            if not difference <= thresholds.tolerance:
                reasons.append(
                    f"the bound is {difference:.4f} nats (standard error "
                    f"{float(overall[SCORING.difference].standard_error):.4f}) above the baseline's "
                    f"{float(overall[SCORING.baseline].mean):.4f}; tolerated is {thresholds.tolerance:g}"
                )
    return Verdict(reasons=tuple(reasons))
