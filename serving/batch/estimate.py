"""Estimates of one image's likelihood from importance samples: float64, mergeable in any order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from serving.client.answers import Scores


class Estimate(NamedTuple):
    """What `samples` samples of one image give, in nats."""

    samples: int
    nll_bound: float
    """The mean over the samples, like the two below."""
    reconstruction: float
    kl: float
    squares: float
    """Sum of the squared deviations of the samples' bounds from their mean."""
    log_weights: float
    """Log of the sum of the samples' weights."""

    @property
    def standard_error(self) -> float | None:
        """The standard error of `nll_bound` over the samples; None for one sample."""
        if self.samples < 2:
            return None
        return math.sqrt(self.squares / (self.samples - 1) / self.samples)

    @property
    def importance_weighted_bound(self) -> float:
        """-log of the mean weight (Burda et al., 2016): at least -log p(x) on average, and falls to it with samples."""
        return math.log(self.samples) - self.log_weights

    @property
    def is_finite(self) -> bool:
        """Whether every number is finite."""
        return all(map(math.isfinite, self))


NO_COMPRESSION_COST = (
    "It is no compression cost, nor comparable with a likelihood of the images: the pixels are intensities, and the "
    "reconstruction is the cross-entropy with them."
)
"""Goes with every bound, and with its bits per dimension, of images that are not binarised."""


def bits_per_dimension(nats: float, dimensions: int) -> float:
    """Converts nats an image to bits a pixel and channel; for intensities that is no compression cost."""
    return nats / (math.log(2) * dimensions)


def estimate_runs(scores: Scores, samples: Sequence[int]) -> list[Estimate]:
    """Makes one estimate of each run of `samples[i]` rows of the scores, which belong to the same image."""
    counts = np.asarray(samples)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])

    def sums(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(np.float64), starts)

    # NaN and infinity spoil their own image alone, see `is_finite`.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        bound, reconstruction, kl = (
            sums(values) / counts for values in (scores.nll_bound, scores.reconstruction, scores.kl)
        )
        squares = sums(np.square(scores.nll_bound.astype(np.float64) - np.repeat(bound, counts)))
        weights = scores.log_weight.astype(np.float64)
        greatest = np.maximum.reduceat(weights, starts)
        log_weights = greatest + np.log(sums(np.exp(weights - np.repeat(greatest, counts))))
    columns: list[np.ndarray] = [counts, bound, reconstruction, kl, squares, log_weights]
    return [Estimate(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def merge_estimates(parts: Iterable[Estimate]) -> Estimate:
    """Merges estimates of disjoint samples of one image, at least one of them."""
    first, *others = parts
    whole = first
    for part in others:
        samples = whole.samples + part.samples
        share = part.samples / samples
        shift = part.nll_bound - whole.nll_bound
        whole = Estimate(
            samples=samples,
            nll_bound=whole.nll_bound + shift * share,
            reconstruction=whole.reconstruction + (part.reconstruction - whole.reconstruction) * share,
            kl=whole.kl + (part.kl - whole.kl) * share,
            squares=whole.squares + part.squares + shift**2 * whole.samples * share,
            log_weights=float(np.logaddexp(whole.log_weights, part.log_weights)),
        )
    return whole
