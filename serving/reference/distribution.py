"""The distribution of a score over a reference's images, kept as some of its order statistics and a histogram."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

BINS = 40
"""Of a histogram between the quantiles 0.1% and 99.9%; one more on each side holds what lies beyond."""
_STEPS = 1000
_EXTREMES = 32
"""At either end so many order statistics are kept one by one, for rates far below 0.1%."""


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Order statistics of `count` values: a new value of the same kind is below that of rank k with k / (count + 1).

    Ranks count from 1. All p-values are conformal (Vovk et al., 2005; Bates et al., 2023): whatever the distribution,
    at most a share p of new images of the same kind has a p-value of p or less, on average over references.
    """

    count: int
    mean: float
    standard_deviation: float
    """With n - 1; 0 for one value."""
    ranks: np.ndarray
    """[k] int64, rising; 1 and `count` are in it."""
    quantiles: np.ndarray
    """[k] float64: the values of these ranks, from the 0.1% to the 99.9% quantile and beyond."""
    edges: np.ndarray
    """[BINS + 1] float64, rising."""
    histogram: np.ndarray
    """[BINS + 2] int64: how many values lie below the edges, between them, and above."""

    @classmethod
    def from_values(cls, values: np.ndarray, *, steps: int = _STEPS) -> Distribution:
        """Keeps about `steps` order statistics of values [n], which are finite, n at least 1."""
        ordered = np.sort(np.asarray(values, np.float64))
        count = len(ordered)
        if not count or not np.isfinite(ordered).all():
            raise ValueError(f"Got {count} values, of which {np.sum(~np.isfinite(ordered))} are not finite.")
        ends = np.arange(1, min(count, _EXTREMES) + 1)
        inner = np.rint(np.linspace(0, 1, steps + 1) * (count + 1)).astype(np.int64)
        ranks = np.unique(np.clip(np.concatenate([ends, count + 1 - ends, inner]), 1, count))
        low, high = ordered[ranks[0] - 1], ordered[ranks[-1] - 1]
        if count > _STEPS:
            low, high = np.quantile(ordered, [0.001, 0.999])
        edges = np.linspace(low, high, BINS + 1)
        return cls(
            count,
            float(ordered.mean()),
            float(ordered.std(ddof=1)) if count > 1 else 0.0,
            ranks,
            ordered[ranks - 1],
            edges,
            counts_between(edges, ordered),
        )

    def rank(self, values: np.ndarray) -> np.ndarray:
        """Returns the ranks [n] that values have among the reference's: from 1, also below all, to `count`.

        Between two that are kept it is interpolated; a value that the reference has several times is in their middle.
        """
        lowest, highest = self._ranks(values)
        return (lowest + highest) / 2

    def percentile(self, values: np.ndarray) -> np.ndarray:
        """Returns what share of such images scores lower, in percent: never 0 nor 100, which no reference can show."""
        return 100 * self.rank(values) / (self.count + 1)

    def upper_p(self, values: np.ndarray) -> np.ndarray:
        """Returns one-sided p-values [n]: small for high values, and at least 1 / (count + 1)."""
        lowest, _ = self._ranks(values)
        return 1 - lowest / (self.count + 1)

    def two_sided_p(self, values: np.ndarray) -> np.ndarray:
        """Returns two-sided p-values [n]: small for high and for low values, and at least 2 / (count + 1)."""
        lowest, highest = self._ranks(values)
        return np.minimum(1.0, 2 * np.minimum(highest, self.count + 1 - lowest) / (self.count + 1))

    def _ranks(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lowest and the highest rank of each value, which differ for what the reference has repeatedly."""
        left = np.searchsorted(self.quantiles, values, "left")
        right = np.searchsorted(self.quantiles, values, "right") - 1
        between = np.interp(values, self.quantiles, self.ranks)
        lowest, highest = self.ranks[np.minimum(left, len(self.ranks) - 1)], self.ranks[np.maximum(right, 0)]
        return np.where(right > left, lowest, between), np.where(right > left, highest, between)

    def quantile(self, probability: float) -> float:
        """Returns the value below which a new image scores with that probability."""
        return float(np.interp(probability * (self.count + 1), self.ranks, self.quantiles))

    def to_json(self) -> dict[str, Any]:
        """Converts to JSON values, floats of seven digits."""
        return {
            "count": self.count,
            "mean": _short(self.mean),
            "standard_deviation": _short(self.standard_deviation),
            "ranks": self.ranks.tolist(),
            "quantiles": [_short(value) for value in self.quantiles.tolist()],
            "histogram": {
                "edges": [_short(value) for value in self.edges.tolist()],
                "counts": self.histogram.tolist(),
            },
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Distribution:
        """Inverts `to_json`. Raises ValueError, KeyError or TypeError for what it did not write."""
        histogram = values["histogram"]
        read = cls(
            int(values["count"]),
            float(values["mean"]),
            float(values["standard_deviation"]),
            np.array(values["ranks"], np.int64),
            np.array(values["quantiles"], np.float64),
            np.array(histogram["edges"], np.float64),
            np.array(histogram["counts"], np.int64),
        )
        read._check()
        return read

    def _check(self) -> None:
        ranks, count = self.ranks, self.count
        if count < 1 or ranks.ndim != 1 or len(ranks) == 0 or (ranks[0], ranks[-1]) != (1, count):
            raise ValueError(f"its ranks are not those of {count} values")
        if not (np.diff(ranks) > 0).all():
            raise ValueError("its ranks do not rise")
        if self.quantiles.shape != ranks.shape or not (np.diff(self.quantiles) >= 0).all():
            raise ValueError("its quantiles do not rise with its ranks")
        if not np.isfinite([self.mean, self.standard_deviation, *self.quantiles, *self.edges]).all():
            raise ValueError("it has numbers that are not finite")
        if self.standard_deviation < 0:
            raise ValueError("its standard deviation is negative")
        if len(self.edges) < 2 or not (np.diff(self.edges) >= 0).all():
            raise ValueError("the edges of its histogram do not rise")
        if self.histogram.shape != (len(self.edges) + 1,) or self.histogram.sum() != count or self.histogram.min() < 0:
            raise ValueError(f"its histogram does not hold {count} values")


def counts_between(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Counts values [n] at most the first edge, between two edges, and above the last: [edges + 1] int64."""
    return np.bincount(np.searchsorted(edges, values, "left"), minlength=len(edges) + 1)


def _short(value: float) -> float:
    return float(f"{value:.7g}")
