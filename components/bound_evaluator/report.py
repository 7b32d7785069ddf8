"""The evaluation as a program reads it (evaluation.json) and as a person does (report.md)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from components.bound_evaluator.moments import Moments, Summary
from components.bound_evaluator.scoring import BASELINE_BOUND, DIFFERENCE, KL_PER_STEP, METRICS, OVERALL
from components.bound_evaluator.verdict import Thresholds, Verdict

_TITLES = {
    "nll_bound": "bound on -log p(x)",
    "reconstruction": "reconstruction",
    "kl": "KL",
    BASELINE_BOUND: "the baseline's bound",
    DIFFERENCE: "bound less the baseline's",
}

_NO_COMPRESSION_COST = (
    "It is no compression cost: the pixels are intensities, and the reconstruction is the cross-entropy with them."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All that was found out about a model on one split."""

    model_uri: str
    baseline_uri: str | None
    baseline_ignored: str | None
    """Why there is a baseline that was not scored, or None."""
    split: str
    cost_dimensions: int | None
    """Pixels and channels of an image of intensities, whose bound is shown in bits per dimension too; or None."""
    thresholds: Thresholds
    slices: Mapping[str, Summary]
    """OVERALL, and each class by its label."""
    verdict: Verdict

    def to_json(self) -> str:
        """Strict JSON: a number that is not finite, or that one example cannot give, is null."""
        labels = sorted(self.slices.keys() - {OVERALL}, key=int)
        values = {
            "unit": "nats an image",
            "model": self.model_uri,
            "baseline": self.baseline_uri,
            "baseline_ignored": self.baseline_ignored,
            "split": self.split,
            **dataclasses.asdict(self.thresholds),
            "blessed": self.verdict.blessed,
            "reasons": list(self.verdict.reasons),
            "overall": _statistics(self.slices[OVERALL]),
            "by_label": {label: _statistics(self.slices[label]) for label in labels},
        }
        return json.dumps(values, indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """A small page: the verdict and why, the means with their standard errors, the classes, the KL of each step."""
        overall = self.slices[OVERALL]
        count = overall["nll_bound"].count
        lines = [
            f"# {'Blessed' if self.verdict.blessed else 'Not blessed'}",
            "",
            *(f"- {reason}" for reason in self.verdict.reasons or (self._why_blessed(),)),
            "",
            f"Split `{self.split}`, {count} examples, in nats an image. Model: `{self.model_uri}`. {self._baseline()}",
            "",
            "| | mean | standard error | standard deviation |",
            "|---|---:|---:|---:|",
        ]
        for name, title in _TITLES.items():
            if name in overall:
                moments = overall[name]
                lines.append(_row(title, moments.mean, moments.standard_error, moments.standard_deviation))
        if self.cost_dimensions is not None:
            bits = overall["nll_bound"].mean / (math.log(2) * self.cost_dimensions)
            lines += ["", f"The bound is {_text(bits)} bits per dimension. {_NO_COMPRESSION_COST}"]
        labels = sorted(self.slices.keys() - {OVERALL}, key=int)
        if labels:
            lines += ["", "| label | examples | bound | standard error | reconstruction | KL |", "|---|" + "---:|" * 5]
            for label in labels:
                bound, reconstruction, kl = (self.slices[label][name] for name in METRICS)
                cells = (bound.mean, bound.standard_error, reconstruction.mean, kl.mean)
                lines.append(_row(f"{label} | {bound.count}", *cells))
        steps = ", ".join(_text(kl) for kl in overall[KL_PER_STEP].mean)
        lines += ["", f"KL of each time-step, first to last: {steps}."]
        return "\n".join(lines) + "\n"

    def _why_blessed(self) -> str:
        bound = f"the bound is at most {self.thresholds.max_nll_bound:g} nats"
        if DIFFERENCE not in self.slices[OVERALL]:
            return bound
        return f"{bound}, and at most {self.thresholds.tolerance:g} above the baseline's"

    def _baseline(self) -> str:
        if self.baseline_uri is None:
            return "There is no baseline."
        if self.baseline_ignored is not None:
            return f"The baseline `{self.baseline_uri}` was ignored: {self.baseline_ignored}."
        return f"Baseline: `{self.baseline_uri}`, on the same examples with the same noise."


def _statistics(summary: Summary) -> dict[str, Any]:
    statistics: dict[str, Any] = {"count": summary["nll_bound"].count}
    for name, moments in summary.items():
        statistics[name] = _moments(moments)
    return statistics


def _moments(moments: Moments) -> dict[str, Any]:
    return {
        "mean": _finite(moments.mean),
        "standard_deviation": _finite(moments.standard_deviation),
        "standard_error": _finite(moments.standard_error),
        "non_finite": moments.non_finite,
    }


def _finite(values: np.ndarray) -> Any:
    """A number or nested lists of them, with None for what JSON has no number for."""
    if values.ndim:
        return [_finite(value) for value in values]
    return float(values) if math.isfinite(values) else None


def _row(head: str, *numbers: np.ndarray) -> str:
    return f"| {head} | " + " | ".join(_text(number) for number in numbers) + " |"


def _text(number: np.ndarray) -> str:
    return f"{float(number):.3f}" if math.isfinite(number) else "-"
