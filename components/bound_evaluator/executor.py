"""Executor of BoundEvaluator."""

from __future__ import annotations

from typing import Any

from components.bound_evaluator.report import BoundEvaluation
from components.bound_evaluator.verdict import Thresholds, decide
from components.evaluation.baseline import cost_dimensions
from components.evaluation.executor import TOLERANCE_KEY, EvaluatingExecutor
from components.evaluation.moments import Summary
from components.evaluation.verdict import Verdict

MAX_NLL_BOUND_KEY = "max_nll_bound"


class Executor(EvaluatingExecutor):
    """By the bound."""

    evaluation_class = BoundEvaluation

    def thresholds(self, exec_properties: dict[str, Any]) -> Thresholds:
        """`max_nll_bound` and `tolerance`, in nats an image."""
        return Thresholds(
            max_nll_bound=float(exec_properties[MAX_NLL_BOUND_KEY]), tolerance=float(exec_properties[TOLERANCE_KEY])
        )

    def decide(self, overall: Summary, thresholds: Thresholds) -> Verdict:
        """See `verdict.decide`."""
        return decide(overall, thresholds)

    def details(self, model_dir: str) -> dict[str, Any]:
        """Of how many numbers an image of intensities is."""
        return {"cost_dimensions": cost_dimensions(model_dir)}
