"""The Mahalanobis distance of an image's statistics from those of the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FEATURES = ("reconstruction", "kl", "complexity")
LEAST = 30
"""Images that a fit needs: ten for each feature."""
_RIDGE = 1e-9
"""A share of each variance, and of 1, that is added to it, so that a constant feature does no harm."""


@dataclasses.dataclass(frozen=True)
class Mahalanobis:
    """A normal density over statistics, which makes one distance of them: the square root of a quadratic form.

    After the likelihood path principle (Huang et al., 2024, arXiv:2401.04933): the statistics on the way to a bound
    tell more than their sum. An image with a usual bound may have an unusual share of KL in it.
    """

    features: tuple[str, ...]
    """Of a model's reference some of FEATURES."""
    mean: np.ndarray
    """[d]."""
    precision: np.ndarray
    """[d, d]: the inverse covariance."""

    @classmethod
    def fit(cls, values: Mapping[str, np.ndarray], features: Sequence[str] = FEATURES) -> Mahalanobis:
        """Fits those of the features that there are, of n images: [n] each, n at least LEAST."""
        features = tuple(name for name in features if name in values)
        columns = np.column_stack([values[name] for name in features])
        covariance = np.cov(columns, rowvar=False)
        ridge = _RIDGE * (1 + np.diag(covariance))
        return cls(features, columns.mean(axis=0), np.linalg.inv(covariance + np.diag(ridge)))

    def distances(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the distances of images, [n] float64."""
        return np.sqrt(self._squares(values))

    def distances_without_each(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns how far each of the very images of the fit would be from a fit without it, [n].

        An image pulls mean and covariance towards itself, so that those of the fit seem closer than new ones do.
        """
        count = len(next(iter(values.values())))
        q = self._squares(values) / (count - 1)
        # Sherman and Morrison's formula for the scatter matrix less one image.
        left = np.maximum(1 - q * count / (count - 1), 1e-12)
        return np.sqrt((count - 2) * (count / (count - 1)) ** 2 * q / left)

    def _squares(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        away = np.column_stack([np.asarray(values[name], np.float64) for name in self.features]) - self.mean
        return np.maximum(np.einsum("ni,ij,nj->n", away, self.precision, away), 0.0)

    def to_json(self) -> dict[str, Any]:
        """Converts to JSON values."""
        return {
            "features": list(self.features),
            "mean": self.mean.tolist(),
            "precision": self.precision.tolist(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Mahalanobis:
        """Inverts `to_json`. Raises ValueError, KeyError or TypeError for what it did not write."""
        features = tuple(values["features"])
        mean, precision = np.array(values["mean"], np.float64), np.array(values["precision"], np.float64)
        if not features or not set(features) <= set(FEATURES):
            raise ValueError(f"its distance is of {features}, and not of {FEATURES}")
        if mean.shape != (len(features),) or precision.shape != (len(features), len(features)):
            raise ValueError(f"its distance is not of the {len(features)} features that it names")
        if not (np.isfinite(mean).all() and np.isfinite(precision).all()):
            raise ValueError("its distance has numbers that are not finite")
        return cls(features, mean, precision)
