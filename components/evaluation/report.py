"""The evaluation as a program reads it (evaluation.json) and as a person does (report.md)."""

from __future__ import annotations

import abc
import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from components.evaluation.moments import Moments, Summary
from components.evaluation.scoring import OVERALL, Scoring
from components.evaluation.verdict import Verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation(abc.ABC):
    """All that was found out about a model on one split."""

    SCORING: ClassVar[Scoring]
    UNIT: ClassVar[str]
    NOISE: ClassVar[str] = ""
    """What a comparison shares beside the examples, as the end of a sentence."""

    model_uri: str
    baseline_uri: str | None
    baseline_ignored: str | None
    """Why there is a baseline that was not scored, or None."""
    split: str
    thresholds: Any
    """A dataclass of the gate's numbers."""
    slices: Mapping[str, Summary]
    """OVERALL, and each class by its label."""
    verdict: Verdict

    @abc.abstractmethod
    def table(self) -> list[str]:
        """Markdown lines of the numbers: the whole split, then the classes."""

    @abc.abstractmethod
    def passed(self) -> str:
        """What the gate asked for, of a model that has it."""

    def statistics(self, summary: Summary) -> dict[str, Any]:
        """Of one slice, as JSON values."""
        values: dict[str, Any] = {"count": summary[self.SCORING.compared].count}
        for name, moments in summary.items():
            values[name] = _moments(moments)
        return values

    @property
    def labels(self) -> list[str]:
        """The slices' names but OVERALL."""
        return sorted(self.slices.keys() - {OVERALL}, key=int)

    @property
    def compared(self) -> bool:
        """Whether there was a baseline to compare with."""
        return self.SCORING.difference in self.slices[OVERALL]

    def to_json(self) -> str:
        """Strict JSON: a number that is not finite, or that one example cannot give, is null."""
        values = {
            "unit": self.UNIT,
            "model": self.model_uri,
            "baseline": self.baseline_uri,
            "baseline_ignored": self.baseline_ignored,
            "split": self.split,
            **dataclasses.asdict(self.thresholds),
            "blessed": self.verdict.blessed,
            "reasons": list(self.verdict.reasons),
            "overall": self.statistics(self.slices[OVERALL]),
            "by_label": {label: self.statistics(self.slices[label]) for label in self.labels},
        }
        return json.dumps(values, indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """A small page: the verdict and why, then the numbers."""
        count = self.slices[OVERALL][self.SCORING.compared].count
        lines = [
            f"# {'Blessed' if self.verdict.blessed else 'Not blessed'}",
            "",
            *(f"- {reason}" for reason in self.verdict.reasons or (self.passed(),)),
            "",
            f"Split `{self.split}`, {count} examples, in {self.UNIT}. Model: `{self.model_uri}`. {self._baseline()}",
            "",
            *self.table(),
        ]
        return "\n".join(lines) + "\n"

    def _baseline(self) -> str:
        if self.baseline_uri is None:
            return "There is no baseline."
        if self.baseline_ignored is not None:
            return f"The baseline `{self.baseline_uri}` was ignored: {self.baseline_ignored}."
        return f"Baseline: `{self.baseline_uri}`, on the same examples{self.NOISE}."


def row(head: str, *numbers: np.ndarray | float) -> str:
    """A line of a Markdown table."""
    return f"| {head} | " + " | ".join(text(number) for number in numbers) + " |"


def text(number: np.ndarray | float) -> str:
    """Three decimals; a dash for what is no number."""
    return f"{float(number):.3f}" if math.isfinite(number) else "-"


def finite(values: np.ndarray | float) -> Any:
    """A number or nested lists of them, with None for what JSON has no number for."""
    if np.ndim(values):
        return [finite(value) for value in np.asarray(values)]
    return float(values) if math.isfinite(values) else None


def _moments(moments: Moments) -> dict[str, Any]:
    return {
        "mean": finite(moments.mean),
        "standard_deviation": finite(moments.standard_deviation),
        "standard_error": finite(moments.standard_error),
        "non_finite": moments.non_finite,
    }
