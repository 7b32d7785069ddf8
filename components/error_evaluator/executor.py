"""Executor of ErrorEvaluator."""

from __future__ import annotations

from typing import Any

from components.error_evaluator.report import ErrorEvaluation
from components.error_evaluator.verdict import Thresholds, decide
from components.evaluation.executor import TOLERANCE_KEY, EvaluatingExecutor
from components.evaluation.moments import Summary
from components.evaluation.verdict import Verdict

MAX_ERROR_KEY = "max_error"


class Executor(EvaluatingExecutor):
    """By the error."""

    evaluation_class = ErrorEvaluation

    def thresholds(self, exec_properties: dict[str, Any]) -> Thresholds:
        """`max_error` and `tolerance`, fractions of the examples."""
        return Thresholds(
            max_error=float(exec_properties[MAX_ERROR_KEY]), tolerance=float(exec_properties[TOLERANCE_KEY])
        )

    def decide(self, overall: Summary, thresholds: Thresholds) -> Verdict:
        """See `verdict.decide`."""
        return decide(overall, thresholds)
