"""Writes the evaluation for programs (evaluation.json) and for people (report.md)."""

from __future__ import annotations

import abc
import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from components.evaluator.gate import Verdict
from components.evaluator.moments import Moments, Summary
from components.evaluator.score_split import (
    CROSS_ENTROPY,
    ERROR,
    KL_PER_STEP,
    OVERALL,
    PARTS,
)
from serving.batch.estimate import NO_COMPRESSION_COST
from serving.exported_task import ExportedTask
from trainer.task import CLASSIFIER, GENERATIVE, ErrorGate, Gate, Kind

EVALUATION_FILE = "evaluation.json"
REPORT_FILE = "report.md"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(abc.ABC):
    """What an evaluator knows about a model on one split."""

    KIND: ClassVar[Kind]
    UNIT: ClassVar[str]
    NOISE: ClassVar[str] = ""
    """What a comparison shares beside the examples, as the end of a sentence."""

    model_uri: str
    task: ExportedTask | None
    """The model's task, None if it is unknown."""
    baseline_uri: str | None
    baseline_ignored: str | None
    """Why there is a baseline that was not scored, or None."""
    split: str
    gate: Gate | ErrorGate
    slices: Mapping[str, Summary]
    """OVERALL, and each class by its label."""
    verdict: Verdict

    @abc.abstractmethod
    def table(self) -> list[str]:
        """Returns Markdown lines with the metrics: the whole split, then the classes."""

    def statistics(self, summary: Summary) -> dict[str, Any]:
        """Converts one slice to JSON values."""
        values: dict[str, Any] = {"count": summary[self.KIND.metric].count}
        for name, moments in summary.items():
            values[name] = _moments(moments)
        return values

    @property
    def labels(self) -> list[str]:
        """Names of the slices but OVERALL."""
        return sorted(self.slices.keys() - {OVERALL}, key=int)

    @property
    def compared(self) -> bool:
        """Whether there was a baseline to compare with."""
        return self.KIND.metric_difference in self.slices[OVERALL]

    def to_json(self) -> str:
        """Writes strict JSON, in which a number that is not finite, or that one example cannot give, is null."""
        values = {
            "unit": self.UNIT,
            "model": self.model_uri,
            "baseline": self.baseline_uri,
            "baseline_ignored": self.baseline_ignored,
            "split": self.split,
            **dataclasses.asdict(self.gate),
            "blessed": self.verdict.blessed,
            "reasons": list(self.verdict.reasons),
            "overall": self.statistics(self.slices[OVERALL]),
            "by_label": {label: self.statistics(self.slices[label]) for label in self.labels},
        }
        return json.dumps(values, indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """Writes a small page: the verdict with its reasons, then the metrics."""
        count = self.slices[OVERALL][self.KIND.metric].count
        lines = [
            f"# {'Blessed' if self.verdict.blessed else 'Not blessed'}",
            "",
            *(f"- {reason}" for reason in self.verdict.reasons or (self._passed(),)),
            "",
            f"Split `{self.split}`, {count} examples, in {self.UNIT}. Model: `{self.model_uri}`. {self._baseline()}",
            "",
            *self.table(),
        ]
        return "\n".join(lines) + "\n"

    def _passed(self) -> str:
        """Says what a blessed model has reached."""
        kind, gate = self.KIND, self.gate
        limit = getattr(gate, kind.limit)
        text = (
            f"the {kind.metric_noun} is finite, and the task names no threshold"
            if limit is None
            else f"the {kind.metric_noun} is at most {kind.limit_text(limit)}"
        )
        return f"{text}, and at most {kind.limit_text(gate.tolerance)} above the baseline's" if self.compared else text

    def _baseline(self) -> str:
        if self.baseline_uri is None:
            return "There is no baseline."
        if self.baseline_ignored is not None:
            return f"The baseline `{self.baseline_uri}` was ignored: {self.baseline_ignored}."
        return f"Baseline: `{self.baseline_uri}`, on the same examples{self.NOISE}."


class BoundEvaluation(Evaluation):
    """The evaluation of a generative model: the bound, its parts and the KL of each time-step, in nats an image."""

    KIND = GENERATIVE
    UNIT = "nats an image"
    NOISE = " with the same noise"

    def table(self) -> list[str]:
        """Means with their standard errors, the classes, the KL of each step."""
        overall = self.slices[OVERALL]
        titles = {
            "nll_bound": "bound on -log p(x)",
            "reconstruction": "reconstruction",
            "kl": "KL",
            self.KIND.baseline_metric: "the baseline's bound",
            self.KIND.metric_difference: "bound less the baseline's",
        }
        lines = ["| | mean | standard error | standard deviation |", "|---|---:|---:|---:|"]
        for name, title in titles.items():
            if name in overall:
                moments = overall[name]
                lines.append(_row(title, moments.mean, moments.standard_error, moments.standard_deviation))
        # Intensities have a bound in bits per dimension too, which a reader could take for a code length.
        if self.task is not None and not self.task.binary:
            bits = overall["nll_bound"].mean / (math.log(2) * math.prod(self.task.image_shape))
            lines += ["", f"The bound is {_text(bits)} bits per dimension. {NO_COMPRESSION_COST}"]
        if self.labels:
            lines += ["", "| label | examples | bound | standard error | reconstruction | KL |", "|---|" + "---:|" * 5]
            for label in self.labels:
                bound, reconstruction, kl = (self.slices[label][name] for name in PARTS)
                cells = (bound.mean, bound.standard_error, reconstruction.mean, kl.mean)
                lines.append(_row(f"{label} | {bound.count}", *cells))
        steps = ", ".join(_text(kl) for kl in overall[KL_PER_STEP].mean)
        return [*lines, "", f"KL of each time-step, first to last: {steps}."]


class ErrorEvaluation(Evaluation):
    """The evaluation of a classifier: the error, overall and by class, with its confidence interval."""

    KIND = CLASSIFIER
    UNIT = "fractions of the examples; the cross-entropy in nats"

    def statistics(self, summary: Summary) -> dict[str, Any]:
        """Converts one slice to JSON values, with the error's confidence interval."""
        values = super().statistics(summary)
        values[ERROR]["interval_95"] = _finite(np.array(wilson_interval(summary[ERROR])))
        return values

    def table(self) -> list[str]:
        """The whole split, the classes, the comparison."""
        overall = self.slices[OVERALL]
        lines = [
            "| label | examples | wrong | error | 95% interval | cross-entropy |",
            "|---|---:|---:|---:|---|---:|",
            *(self._line(name, self.slices[name]) for name in (OVERALL, *self.labels)),
        ]
        if self.compared:
            baseline, difference = overall[self.KIND.baseline_metric], overall[self.KIND.metric_difference]
            lines += [
                "",
                "| | mean | standard error |",
                "|---|---:|---:|",
                _row("the baseline's error", baseline.mean, baseline.standard_error),
                _row("error less the baseline's, paired", difference.mean, difference.standard_error),
            ]
        return lines

    def _line(self, name: str, summary: Summary) -> str:
        error, count = float(summary[ERROR].mean), summary[ERROR].count
        if not math.isfinite(error):
            return f"| {name} | {count} | - | - | - | - |"
        low, high = wilson_interval(summary[ERROR])
        cells = (f"{error * count:.0f}", f"{error:.2%}", f"{low:.2%} to {high:.2%}")
        return f"| {name} | {count} | {' | '.join(cells)} | {float(summary[CROSS_ENTROPY].mean):.3f} |"


def wilson_interval(error: Moments) -> tuple[float, float]:
    """Returns the 95% confidence interval of an error (Wilson, 1927), which holds for few errors and for none.

    Args:
      error: moments of a score that is 0 or 1 for each example. If one is NaN, so are both limits.
    """
    # Takes a second to import, and generative models have no use for it.
    from scipy import stats

    if error.non_finite:
        return math.nan, math.nan
    wrong = round(float(error.mean) * error.count)
    low, high = stats.binomtest(wrong, error.count).proportion_ci(method="wilson")
    return float(low), float(high)


def _row(head: str, *numbers: np.ndarray | float) -> str:
    return f"| {head} | " + " | ".join(_text(number) for number in numbers) + " |"


def _text(number: np.ndarray | float) -> str:
    return f"{float(number):.3f}" if math.isfinite(number) else "-"


def _finite(values: np.ndarray | float) -> Any:
    """Converts a number, or an array to nested lists, with None for what JSON has no number for."""
    if np.ndim(values):
        return [_finite(value) for value in np.asarray(values)]
    return float(values) if math.isfinite(values) else None


def _moments(moments: Moments) -> dict[str, Any]:
    return {
        "mean": _finite(moments.mean),
        "standard_deviation": _finite(moments.standard_deviation),
        "standard_error": _finite(moments.standard_error),
        "non_finite": moments.non_finite,
    }
