"""The evaluation of a classifier: the error, overall and by class, with its confidence interval."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from components.error_evaluator import wilson
from components.error_evaluator.scoring import CROSS_ENTROPY, ERROR, SCORING
from components.evaluation.moments import Summary
from components.evaluation.report import Evaluation, finite, row
from components.evaluation.scoring import OVERALL, Scoring


@dataclasses.dataclass(frozen=True, kw_only=True)
class ErrorEvaluation(Evaluation):
    """In fractions of the examples."""

    SCORING: ClassVar[Scoring] = SCORING
    UNIT: ClassVar[str] = "fractions of the examples; the cross-entropy in nats"

    def statistics(self, summary: Summary) -> dict[str, Any]:
        """With the error's confidence interval."""
        values = super().statistics(summary)
        values[ERROR]["interval_95"] = finite(
            np.array(wilson.interval(float(summary[ERROR].mean), summary[ERROR].count))
        )
        return values

    def table(self) -> list[str]:
        """The whole split, the comparison, the classes."""
        overall = self.slices[OVERALL]
        lines = [
            "| label | examples | wrong | error | 95% interval | cross-entropy |",
            "|---|---:|---:|---:|---|---:|",
            *(self._line(name, self.slices[name]) for name in (OVERALL, *self.labels)),
        ]
        if self.compared:
            baseline, difference = overall[SCORING.baseline], overall[SCORING.difference]
            lines += [
                "",
                "| | mean | standard error |",
                "|---|---:|---:|",
                row("the baseline's error", baseline.mean, baseline.standard_error),
                row("error less the baseline's, paired", difference.mean, difference.standard_error),
            ]
        return lines

    def passed(self) -> str:
        """The error, and the baseline's where there is one."""
        error = f"the error is at most {self.thresholds.max_error:.2%}"
        if not self.compared:
            return error
        return f"{error}, and at most {self.thresholds.tolerance:.2%} above the baseline's"

    def _line(self, name: str, summary: Summary) -> str:
        error, count = float(summary[ERROR].mean), summary[ERROR].count
        if not math.isfinite(error):
            return f"| {name} | {count} | - | - | - | - |"
        low, high = wilson.interval(error, count)
        cells = (f"{error * count:.0f}", f"{error:.2%}", f"{low:.2%} to {high:.2%}")
        return f"| {name} | {count} | {' | '.join(cells)} | {float(summary[CROSS_ENTROPY].mean):.3f} |"
