"""The reference of a model: the distributions of its scores over its validation split, as assets/reference.json."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from serving.reference.complexity import COMPRESSOR
from serving.reference.distribution import Distribution
from serving.reference.mahalanobis import LEAST, Mahalanobis

REFERENCE_FILE = os.path.join("assets", "reference.json")
"""Below a SavedModel's folder, beside its task."""
FORMAT = 1
"""Of the file. A reader takes no other: a score may mean something else in it."""
NO_REFERENCE = "The model has no reference, so no percentiles: make one with `draw reference`."

BOUND = "nll_bound"
COMPLEXITY_CORRECTED = "complexity_corrected"
"""The bound less the image's complexity, of binarised images; of others the bound is no code length."""
MAHALANOBIS = "mahalanobis"

Statistics = Mapping[str, np.ndarray]
"""What is measured of images, [n] each: `nll_bound`, `reconstruction`, `kl`, and of binarised ones `complexity`."""

_CLASS_STEPS = 100
"""Quantiles of each class's distributions."""
_MOST_CLASSES = 100
"""Of more there is nothing by class: a file of many megabytes, which servers do not hold, and few images in each."""


class BadReference(ValueError):
    """The file is no reference, or one of another format."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """What a model scores on images of the kind that it was trained on, which it has not seen in training."""

    split: str
    """Where the images are from, for people."""
    scores: Mapping[str, Distribution]
    """By the score's name; BOUND is always there."""
    by_class: Mapping[str, Mapping[str, Distribution]]
    """The same for each label; empty where there are none, or more than 100."""
    fit: Mahalanobis | None
    """Of the distance; None of too few images."""
    non_finite: int = 0
    """Images that are left out, for the model's score of them is not finite."""

    @property
    def count(self) -> int:
        """The number of images."""
        return self.scores[BOUND].count

    @property
    def needs_complexity(self) -> bool:
        """Whether images are compared by their complexity too."""
        return COMPLEXITY_CORRECTED in self.scores

    def scores_from(self, statistics: Statistics) -> dict[str, np.ndarray]:
        """Returns the scores of images, [n] each, that the reference has the distributions of."""
        scores = dict(_derived(statistics))
        if self.fit is not None:
            scores[MAHALANOBIS] = self.fit.distances(statistics)
        return {name: scores[name] for name in self.scores}

    @classmethod
    def from_statistics(cls, statistics: Statistics, *, split: str, labels: Sequence[Any] | None = None) -> Reference:
        """Makes the reference of images' statistics, with their labels where all have one.

        Raises BadReference if there is no image whose statistics are finite.
        """
        columns = np.stack(list(statistics.values()))
        finite = np.isfinite(columns).all(axis=0)
        if not finite.any():
            raise BadReference(f"Of {columns.shape[1]} images none has a finite score, so there is no reference.")
        statistics = {name: np.asarray(values, np.float64)[finite] for name, values in statistics.items()}
        scores = dict(_derived(statistics))
        fit = None
        if int(finite.sum()) >= LEAST:
            fit = Mahalanobis.fit(statistics)
            scores[MAHALANOBIS] = fit.distances_without_each(statistics)
        by_class = {}
        if labels is not None and None not in labels:
            names = np.array([str(label) for label in labels])[finite]
            classes = sorted(set(names), key=_natural)
            for name in classes if len(classes) <= _MOST_CLASSES else ():
                rows = names == name
                by_class[str(name)] = {
                    score: Distribution.from_values(values[rows], steps=_CLASS_STEPS)
                    for score, values in scores.items()
                }
        whole = {score: Distribution.from_values(values) for score, values in scores.items()}
        return cls(split, whole, by_class, fit, int(np.sum(~finite)))

    def to_json(self) -> str:
        """Writes the file's content."""
        values = {
            "format": FORMAT,
            "split": self.split,
            "count": self.count,
            "non_finite": self.non_finite,
            "unit": "nats an image, one sample each; a Mahalanobis distance has none",
            "compressor": COMPRESSOR if self.needs_complexity else None,
            "fit": None if self.fit is None else self.fit.to_json(),
            "scores": {name: distribution.to_json() for name, distribution in self.scores.items()},
            "by_class": {
                label: {name: distribution.to_json() for name, distribution in scores.items()}
                for label, scores in self.by_class.items()
            },
        }
        return json.dumps(values, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Reference:
        """Reads the file's content. Raises BadReference, which says what is wrong with it."""
        try:
            values = json.loads(text)
            if values["format"] != FORMAT:
                raise BadReference(
                    f"The reference has the format {values['format']!r}, and this version reads {FORMAT}: make it anew "
                    "with `draw reference`."
                )
            scores = _distributions(values["scores"])
            fit = None if values["fit"] is None else Mahalanobis.from_json(values["fit"])
            by_class = {label: _distributions(each) for label, each in values["by_class"].items()}
            reference = cls(str(values["split"]), scores, by_class, fit, int(values["non_finite"]))
            reference._check(values["compressor"])
            if reference.count != values["count"] or {each.count for each in scores.values()} != {reference.count}:
                raise ValueError("its scores are not of as many images as it says")
        except BadReference:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise BadReference(f"The reference cannot be used: {type(error).__name__}: {error}.") from error
        return reference

    def _check(self, compressor: object) -> None:
        """Raises ValueError where its parts do not belong together."""
        names = {BOUND, "reconstruction", "kl"} | ({MAHALANOBIS} if self.fit else set())
        names |= {COMPLEXITY_CORRECTED} if compressor is not None else set()
        if self.scores.keys() != names:
            raise ValueError(f"it has the scores {sorted(self.scores)} where {sorted(names)} are expected")
        if compressor not in (None, COMPRESSOR):
            raise ValueError(f"its compressor is {compressor!r}, and this version has {COMPRESSOR!r}")
        if self.fit is not None and ("complexity" in self.fit.features) != self.needs_complexity:
            raise ValueError("its distance is of other features than its scores")


def _derived(statistics: Statistics) -> Iterator[tuple[str, np.ndarray]]:
    for name in (BOUND, "reconstruction", "kl"):
        yield name, np.asarray(statistics[name], np.float64)
    if "complexity" in statistics:
        yield COMPLEXITY_CORRECTED, statistics[BOUND] - statistics["complexity"]


def _distributions(values: Mapping[str, Any]) -> dict[str, Distribution]:
    return {name: Distribution.from_json(each) for name, each in values.items()}


def _natural(label: str) -> tuple[int, str]:
    return (int(label) if label.isdecimal() else 2**63), label
