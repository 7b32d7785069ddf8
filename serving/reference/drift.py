"""Whether a batch of images scores as the reference does: counts of fixed size, mergeable in any order."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from serving.reference.distribution import Distribution, counts_between


class Sketch(NamedTuple):
    """What is kept of a score of any number of images."""

    images: int
    mean: float
    squares: float
    """Sum of the squared deviations from the mean (Chan et al., 1983)."""
    counts: np.ndarray
    """[2 k + 1] int64: images below, at, between, ..., and above the k different quantiles of the reference."""
    histogram: np.ndarray
    """int64, as in the reference."""

    def merged(self, other: Sketch) -> Sketch:
        """Returns the sketch of the images of both."""
        images = self.images + other.images
        if not images:
            return self
        share, shift = other.images / images, other.mean - self.mean
        return Sketch(
            images,
            self.mean + shift * share,
            self.squares + other.squares + shift**2 * self.images * share,
            self.counts + other.counts,
            self.histogram + other.histogram,
        )


class DriftOf:
    """Compares the scores of a batch with one distribution of the reference."""

    def __init__(self, distribution: Distribution) -> None:
        self._distribution = distribution
        self._levels, first = np.unique(distribution.quantiles, return_index=True)
        last = np.append(first[1:], len(distribution.ranks)) - 1
        # The shares of the reference below each level, and at most there.
        self._below = (distribution.ranks[first] - 1) / distribution.count
        self._at_most = distribution.ranks[last] / distribution.count

    def sketch(self, values: np.ndarray) -> Sketch:
        """Makes the sketch of values [n], which may be none."""
        places = np.searchsorted(self._levels, values, "left") + np.searchsorted(self._levels, values, "right")
        mean = float(values.mean()) if len(values) else 0.0
        return Sketch(
            len(values),
            mean,
            float(np.square(values - mean).sum()),
            np.bincount(places, minlength=2 * len(self._levels) + 1),
            counts_between(self._distribution.edges, values),
        )

    def ks_statistic(self, sketch: Sketch) -> float:
        """Returns the two-sample Kolmogorov-Smirnov statistic; exact for a reference of fewer than 1,000 images.

        For a larger one, of which not every value is kept, it is too small by at most 0.001.
        """
        cumulated = np.cumsum(sketch.counts) / sketch.images
        below, at_most = cumulated[0:-1:2], cumulated[1::2]
        return float(max(np.abs(below - self._below).max(), np.abs(at_most - self._at_most).max()))

    def to_json(self, sketch: Sketch) -> dict[str, Any]:
        """Returns the comparison; null where there are too few images for a number."""
        # Takes a second to import, and only the end of a job has use for it.
        from scipy import stats

        reference = self._distribution
        ks = p_value = errors = shift = None
        if sketch.images:
            ks = self.ks_statistic(sketch)
            effective = reference.count * sketch.images / (reference.count + sketch.images)
            # As scipy.stats.ks_2samp for large samples, which cannot be given counts.
            p_value = float(np.clip(stats.kstwo.sf(ks, max(1, round(effective))), 0.0, 1.0))
            shift = sketch.mean - reference.mean
        if sketch.images > 1:
            variance = sketch.squares / (sketch.images - 1) / sketch.images
            variance += reference.standard_deviation**2 / reference.count
            errors = (sketch.mean - reference.mean) / math.sqrt(variance) if variance else None
        return {
            "ks": ks,
            "p_value": p_value,
            "shift": shift,
            "shift_in_standard_errors": errors,
            "histogram": {
                "edges": reference.edges.tolist(),
                "reference": reference.histogram.tolist(),
                "batch": sketch.histogram.tolist(),
            },
        }


class Drift:
    """Compares all scores of a batch with the reference's."""

    def __init__(self, distributions: Mapping[str, Distribution]) -> None:
        self._distributions = dict(distributions)

    @functools.cached_property
    def _scores(self) -> dict[str, DriftOf]:
        return {name: DriftOf(distribution) for name, distribution in self._distributions.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Sends the distributions alone to the workers."""
        return {"_distributions": self._distributions}

    def sketch(self, scores: Mapping[str, np.ndarray]) -> dict[str, Sketch]:
        """Makes the sketches of the scores by name, [n] each."""
        return {name: drift.sketch(np.asarray(scores[name], np.float64)) for name, drift in self._scores.items()}

    def to_json(self, sketches: Mapping[str, Sketch]) -> dict[str, Any]:
        """Returns the comparison of each score."""
        return {name: drift.to_json(sketches[name]) for name, drift in self._scores.items()}
