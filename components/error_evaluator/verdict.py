"""The gate on the error: what a classifier's summary must satisfy to be blessed."""

from __future__ import annotations

import dataclasses

from components.error_evaluator.scoring import ERROR, SCORING
from components.evaluation.moments import Summary
from components.evaluation.verdict import Verdict, not_finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Fractions of the examples. Raises ValueError for what is none."""

    max_error: float
    tolerance: float
    """By how much the error may be worse than the baseline's."""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; expected a fraction of the examples, between 0 and 1.")


def decide(overall: Summary, thresholds: Thresholds) -> Verdict:
    """Judges the summary of a whole split; with a baseline where it was scored too. Every failed condition is named."""
    reasons = not_finite(overall, SCORING.difference)
    if not reasons:
        error = float(overall[ERROR].mean)
        if not error <= thresholds.max_error:
            reasons.append(f"the error is {error:.2%}, above the greatest allowed, {thresholds.max_error:.2%}")
        if SCORING.difference in overall:
            difference = overall[SCORING.difference]
            if not float(difference.mean) <= thresholds.tolerance:
                reasons.append(
                    f"the error is {float(difference.mean):.2%} (standard error "
                    f"{float(difference.standard_error):.2%}) above the baseline's "
                    f"{float(overall[SCORING.baseline].mean):.2%}; tolerated is {thresholds.tolerance:.2%}"
                )
    return Verdict(reasons=tuple(reasons))
