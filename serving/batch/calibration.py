"""What a job makes of a model's reference: columns of each image, flags, and the drift of the whole batch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from serving.batch.estimate import Estimate
from serving.reference.drift import Drift, Sketch
from serving.reference.flag_rule import FlagRule
from serving.reference.image_scores import FLAG_BY, TWO_SIDED, calibrated_scores, unusualness
from serving.reference.mahalanobis import LEAST
from serving.reference.model_reference import BOUND, Reference

SHOWN = 64
"""The most unusual images that the contact sheet shows."""


class Measured(Protocol):
    """An image with what is compared of it."""

    @property
    def estimate(self) -> Estimate:
        """The estimate from its samples."""

    @property
    def complexity(self) -> float | None:
        """In nats; None where it is not measured."""


class Surprise(NamedTuple):
    """How unusual an image is; the greater, the more."""

    unlikeliness: float
    """1 less the p-value."""
    distance: float
    """Ranks images that are beyond all of the reference, whose p-values are the same."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """Compares estimates with a reference."""

    reference: Reference
    rule: FlagRule | None = None
    """Which images to flag; None for none."""

    @classmethod
    def for_job(cls, reference: Reference | str, *, flag_rate: float | None, flag_by: str) -> Calibration | None:
        """Makes that of a job; None for a model without a reference.

        Raises ValueError if images are to be flagged and the reference is missing, or too small for the rate.
        """
        if isinstance(reference, str):
            if flag_rate is not None:
                raise ValueError(f"Nothing can be flagged. {reference}")
            return None
        rule = None
        if flag_rate is not None:
            if FLAG_BY[flag_by] not in reference.scores:
                raise ValueError(
                    f"Nothing can be flagged by {flag_by}: the model's reference of {reference.count:,} images has no "
                    f"such score, for its images are not binarised, or fewer than {LEAST}. Choose --flag-by typicality."
                )
            rule = FlagRule(by=flag_by, rate=flag_rate, two_sided=flag_by in TWO_SIDED, reference_count=reference.count)
        # Workers have no use for the classes.
        return cls(reference=dataclasses.replace(reference, by_class={}), rule=rule)

    def columns(self, images: Sequence[Measured]) -> dict[str, list[float | None]]:
        """Returns CALIBRATED by name, with a number for each image."""
        calibrated = calibrated_scores(self.reference, statistics(images))
        return {
            name: [None] * len(images) if values is None else values.tolist() for name, values in calibrated.items()
        }

    def surprises(self, images: Sequence[Measured]) -> list[Surprise | None]:
        """Returns how unusual each image is that is to be flagged, and None for the others."""
        if self.rule is None or not images:
            return [None] * len(images)
        p_values, away = unusualness(self.reference, self.rule.by, statistics(images))
        # An image of just the rate's quantile is flagged, whatever the last bit of its p-value is.
        flagged = p_values <= self.rule.rate * (1 + 1e-9)
        return [
            Surprise(1 - p, distance) if flag else None
            for p, distance, flag in zip(p_values.tolist(), away.tolist(), flagged.tolist(), strict=True)
        ]

    def sketch(self, images: Sequence[Measured]) -> dict[str, Sketch]:
        """Makes what is kept of a batch's scores."""
        return self._drift.sketch(self.reference.scores_from(statistics(images)))

    def drift_to_json(self, sketches: Mapping[str, Sketch]) -> dict[str, Any]:
        """Returns the drift of each score from the reference."""
        return self._drift.to_json(sketches)

    @functools.cached_property
    def _drift(self) -> Drift:
        return Drift(self.reference.scores)


def statistics(images: Sequence[Measured]) -> dict[str, np.ndarray]:
    """Returns what a reference compares, by name, [n] float64; without the complexity where it was not measured."""
    names = (BOUND, "reconstruction", "kl")
    values = {name: np.array([getattr(image.estimate, name) for image in images], np.float64) for name in names}
    if all(image.complexity is not None for image in images):
        values["complexity"] = np.array([image.complexity for image in images], np.float64)
    return values
