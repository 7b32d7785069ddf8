"""The evaluation of a generative model: the bound, its parts and the KL of each time-step."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from components.bound_evaluator.scoring import KL_PER_STEP, METRICS, SCORING
from components.evaluation.report import Evaluation, row, text
from components.evaluation.scoring import OVERALL, Scoring

_TITLES = {
    "nll_bound": "bound on -log p(x)",
    "reconstruction": "reconstruction",
    "kl": "KL",
    SCORING.baseline: "the baseline's bound",
    SCORING.difference: "bound less the baseline's",
}

NO_COMPRESSION_COST = (
    "It is no compression cost: the pixels are intensities, and the reconstruction is the cross-entropy with them."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoundEvaluation(Evaluation):
    """In nats an image."""

    SCORING: ClassVar[Scoring] = SCORING
    UNIT: ClassVar[str] = "nats an image"
    NOISE: ClassVar[str] = " with the same noise"

    cost_dimensions: int | None
    """Pixels and channels of an image of intensities, whose bound is shown in bits per dimension too; or None."""

    def table(self) -> list[str]:
        """Means with their standard errors, the classes, the KL of each step."""
        overall = self.slices[OVERALL]
        lines = ["| | mean | standard error | standard deviation |", "|---|---:|---:|---:|"]
        for name, title in _TITLES.items():
            if name in overall:
                moments = overall[name]
                lines.append(row(title, moments.mean, moments.standard_error, moments.standard_deviation))
        if self.cost_dimensions is not None:
            bits = overall["nll_bound"].mean / (math.log(2) * self.cost_dimensions)
            lines += ["", f"The bound is {text(bits)} bits per dimension. {NO_COMPRESSION_COST}"]
        if self.labels:
            lines += ["", "| label | examples | bound | standard error | reconstruction | KL |", "|---|" + "---:|" * 5]
            for label in self.labels:
                bound, reconstruction, kl = (self.slices[label][name] for name in METRICS)
                cells = (bound.mean, bound.standard_error, reconstruction.mean, kl.mean)
                lines.append(row(f"{label} | {bound.count}", *cells))
        steps = ", ".join(text(kl) for kl in overall[KL_PER_STEP].mean)
        return [*lines, "", f"KL of each time-step, first to last: {steps}."]

    def passed(self) -> str:
        """The bound, and the baseline's where there is one."""
        bound = f"the bound is at most {self.thresholds.max_nll_bound:g} nats"
        if not self.compared:
            return bound
        return f"{bound}, and at most {self.thresholds.tolerance:g} above the baseline's"
