"""Count, mean and spread of scores over examples, mergeable in any order without losing digits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments:
    """Moments of a score over `count` examples, a number or an array each; all in float64.

    The sum of squares is kept about the mean (Chan, Golub and LeVeque 1983), not about zero: for a bound of about 100
    nats the difference of two large sums would cancel the digits that a standard error is made of.
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray
    """Sum of the squared deviations from the mean."""
    non_finite: int
    """Examples with a value that is NaN or infinite; mean and squares are then NaN or infinite too."""

    @classmethod
    def from_values(cls, values: np.ndarray) -> Moments:
        """Computes the moments of values [n, ...], a row an example, n at least 1."""
        values = np.asarray(values, np.float64)
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        with np.errstate(invalid="ignore"):
            mean = values.mean(axis=0)
            squares = np.square(values - mean).sum(axis=0)
        return cls(count=len(values), mean=mean, squares=squares, non_finite=int(np.sum(~finite)))

    def merged(self, other: Moments) -> Moments:
        """Returns the moments of the examples of both."""
        count = self.count + other.count
        with np.errstate(invalid="ignore"):
            shift = other.mean - self.mean
            mean = self.mean + shift * (other.count / count)
            squares = self.squares + other.squares + np.square(shift) * (self.count * other.count / count)
        return Moments(count=count, mean=mean, squares=squares, non_finite=self.non_finite + other.non_finite)

    @property
    def standard_deviation(self) -> np.ndarray:
        """Estimate of the population's, with n - 1; NaN for one example."""
        if self.count < 2:
            return np.full_like(self.squares, np.nan)
        return np.sqrt(self.squares / (self.count - 1))

    @property
    def standard_error(self) -> np.ndarray:
        """Standard error of the mean; NaN for one example."""
        return self.standard_deviation / np.sqrt(self.count)

    def to_json(self) -> dict[str, Any]:
        """Converts to JSON values; NaN stays NaN, which Python's json reads and writes."""
        return {name: np.asarray(value).tolist() for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Moments:
        """Inverts `to_json`."""
        return cls(**{**values, "mean": np.asarray(values["mean"]), "squares": np.asarray(values["squares"])})


Summary = dict[str, Moments]
"""Moments of several scores over the same examples, by the score's name."""


def merge_summaries(summaries: Iterable[Summary]) -> Summary:
    """Merges summaries of disjoint examples. Associative and commutative, so Beam may combine as it likes."""
    merged: Summary = {}
    for summary in summaries:
        for name, moments in summary.items():
            merged[name] = merged[name].merged(moments) if name in merged else moments
    return merged
