"""The summary of a job: counts, means with standard errors, and the images at either end."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from serving.batch.calibration import SHOWN, Calibration, Surprise
from serving.batch.elements import Scored
from serving.batch.estimate import bits_per_dimension
from serving.images.image_elements import printable_id
from serving.reference.drift import Sketch

QUANTITIES = ("nll_bound", "reconstruction", "kl", "importance_weighted_bound")
LEAST_LIKELY = 10


class Ranked(NamedTuple):
    """An image with its importance-weighted bound, the closest estimate of its likelihood, by which it is ranked."""

    importance_weighted_bound: float
    id: bytes
    nll_bound: float
    pixels: np.ndarray | None

    def to_json(self) -> dict[str, Any]:
        """Returns the values without the picture."""
        return {
            "id": printable_id(self.id),
            "nll_bound": self.nll_bound,
            "importance_weighted_bound": self.importance_weighted_bound,
        }


class Unusual(NamedTuple):
    """A flagged image."""

    surprise: Surprise
    id: bytes
    nll_bound: float
    pixels: np.ndarray | None

    def to_json(self) -> dict[str, Any]:
        """Returns the values without the picture."""
        p_value = 1 - self.surprise.unlikeliness
        return {"id": printable_id(self.id), "nll_bound": self.nll_bound, "p_value": p_value}


class Summary(NamedTuple):
    """The summary of some images: arrays of QUANTITIES, mergeable in any order without loss (Chan et al., 1983)."""

    images: int
    mean: np.ndarray
    squares: np.ndarray
    """Sums of the squared deviations from the mean."""
    least_likely: list[Ranked]
    """The least likely first."""
    most_likely: list[Ranked]
    sketches: Mapping[str, Sketch] | None = None
    """Of the scores that a reference has; None without one."""
    flagged: int = 0
    most_unusual: Sequence[Unusual] = ()
    """Flagged images, the most unusual first."""

    def to_json(self, dimensions: int) -> dict[str, Any]:
        """Returns means and standard errors in nats an image; null without images, and for the error of one image."""
        errors: Sequence[float | None] = [None] * len(QUANTITIES)
        if self.images > 1:
            errors = np.sqrt(self.squares / (self.images - 1) / self.images).tolist()
        means: Sequence[float | None] = self.mean.tolist() if self.images else [None] * len(QUANTITIES)
        bound = means[0]
        return {
            "images": self.images,
            **{
                name: {"mean": mean, "standard_error": error}
                for name, mean, error in zip(QUANTITIES, means, errors, strict=True)
            },
            "bits_per_dimension": None if bound is None else bits_per_dimension(bound, dimensions),
            "least_likely": [ranked.to_json() for ranked in self.least_likely[:LEAST_LIKELY]],
        }


class Summarise(beam.CombineFn):
    """Combines lists of Scored to a Summary with so many images at either end."""

    def __init__(self, most_likely: int, least_likely: int, calibration: Calibration | None = None) -> None:
        self._most_likely = most_likely
        self._least_likely = least_likely
        self._calibration = calibration

    def create_accumulator(self) -> Summary:
        """Makes the summary of no image."""
        nothing = np.zeros(len(QUANTITIES))
        sketches = self._calibration.sketch([]) if self._calibration else None
        return Summary(0, nothing, nothing, [], [], sketches)

    def add_input(self, summary: Summary, batch: Sequence[Scored]) -> Summary:
        """Adds the images of a batch, which may be empty."""
        if not batch:
            return summary
        values = np.array([[getattr(scored.estimate, name) for name in QUANTITIES] for scored in batch])
        mean = values.mean(axis=0)
        ranked = [
            # Flagged images have pixels though nobody asked for these pictures.
            Ranked(value[-1], scored.id, value[0], scored.pixels if self._most_likely else None)
            for scored, value in zip(batch, values.tolist(), strict=True)
        ]
        squares = np.square(values - mean).sum(axis=0)
        sketches = self._calibration.sketch(batch) if self._calibration else None
        unusual = [
            Unusual(scored.surprise, scored.id, scored.estimate.nll_bound, scored.pixels)
            for scored in batch
            if scored.surprise is not None
        ]
        return self._merge(summary, Summary(len(batch), mean, squares, ranked, ranked, sketches, len(unusual), unusual))

    def merge_accumulators(self, summaries: Iterable[Summary]) -> Summary:
        """Merges the summaries of disjoint images."""
        merged = self.create_accumulator()
        for summary in summaries:
            merged = self._merge(merged, summary)
        return merged

    def extract_output(self, summary: Summary) -> Summary:
        """Returns the summary itself."""
        return summary

    def _merge(self, one: Summary, other: Summary) -> Summary:
        images = one.images + other.images
        if not images:
            return one
        share = other.images / images
        shift = other.mean - one.mean
        return Summary(
            images,
            one.mean + shift * share,
            one.squares + other.squares + np.square(shift) * one.images * share,
            heapq.nlargest(self._least_likely, one.least_likely + other.least_likely, key=_rank),
            heapq.nsmallest(self._most_likely, one.most_likely + other.most_likely, key=_rank),
            _merged(one.sketches, other.sketches),
            one.flagged + other.flagged,
            heapq.nlargest(SHOWN, [*one.most_unusual, *other.most_unusual], key=_surprise),
        )


def _merged(one: Mapping[str, Sketch] | None, other: Mapping[str, Sketch] | None) -> Mapping[str, Sketch] | None:
    if one is None or other is None:
        return None
    return {name: sketch.merged(other[name]) for name, sketch in one.items()}


def _surprise(unusual: Unusual) -> tuple[Surprise, bytes]:
    """Orders equals by id, as `_rank` does."""
    return unusual.surprise, unusual.id


def _rank(ranked: Ranked) -> tuple[float, bytes]:
    """Orders equals by id, so that the order of the work does not show."""
    return ranked.importance_weighted_bound, ranked.id


def as_text(values: dict[str, Any]) -> str:
    """Formats the summary that a job has written, for people: first of all what has no score, and why."""
    each = f"{values['samples']:,} sample{'s' if values['samples'] > 1 else ''} each"
    lines = [f"{values['images']:,} images scored with {each}, {values['rejected']:,} rejected"]
    if unknown := values["losses_of_unknown_size"]:
        places = "1 place" if unknown == 1 else f"{unknown:,} places"
        lines.append(f"In {places} more rows are lost, and nobody can tell how many: see the rejected.")
    if passed := values["passed_over"]["files"]:
        first = values["passed_over"]["first"]
        lines.append(f"{passed:,} file{'s' if passed > 1 else ''} passed over:")
        lines += [f"  {each['path']}: {each['reason']}" for each in first]
        lines += [f"  and {passed - len(first):,} more"] if passed > len(first) else []
    if not values["images"]:
        lines.append("Nothing was scored.")
    else:
        for name, title in (
            ("nll_bound", "bound on -log p(x)"),
            ("reconstruction", "reconstruction"),
            ("kl", "KL"),
            ("importance_weighted_bound", "importance-weighted bound"),
        ):
            mean, error = values[name]["mean"], values[name]["standard_error"]
            spread = "" if error is None else f"  standard error {error:.3f}"
            lines.append(f"{title:26} {mean:10.3f} nats{spread}")
        lines.append(f"{'bits per dimension':26} {values['bits_per_dimension']:10.4f}")
        if values["note"]:
            lines.append(values["note"])
        lines.append("least likely by the importance-weighted bound:")
        lines += [
            f"  {ranked['importance_weighted_bound']:10.3f} nats  {ranked['id']}" for ranked in values["least_likely"]
        ]
        lines += _compared(values)
    return "\n".join(lines) + "\n"


def _compared(values: dict[str, Any]) -> list[str]:
    """Formats what the model's reference says of the images."""
    reference, flagged = values["reference"], values["flagged"]
    if reference is None:
        return [values["reference_note"]]
    lines = [f"compared with the {reference['images']:,} images of the split {reference['split']!r}:"]
    for name, drift in values["drift"].items():
        errors = drift["shift_in_standard_errors"]
        away = "" if errors is None else f", {errors:+.1f} standard errors"
        lines.append(
            f"  {name:20} drift {drift['ks']:.3f} (p {drift['p_value']:.2g}), mean {drift['shift']:+.3f}{away}"
        )
    if flagged is not None:
        low, high = flagged["share_interval_95"]
        lines += [
            f"{flagged['flagged']:,} images flagged by {flagged['by']}: {flagged['share']:.3%}, 95% interval "
            f"{low:.3%} to {high:.3%}",
            f"  of usual images {flagged['expected']:,.1f} were to be expected, {flagged['rate']:.3%}",
        ]
        if flagged["most_unusual"]:
            first = flagged["most_unusual"][:LEAST_LIKELY]
            lines.append("most unusual:")
            lines += [f"  {each['nll_bound']:10.3f} nats  {each['id']}" for each in first]
    return lines


def drift_of(values: dict[str, Any]) -> float | None:
    """Returns the greatest Kolmogorov-Smirnov statistic of all scores; None without images or a reference."""
    statistics = [drift["ks"] for drift in (values["drift"] or {}).values() if drift["ks"] is not None]
    return max(statistics, default=None)


def is_complete(values: dict[str, Any], max_bad: int) -> bool:
    """Whether anything was scored, and at most so many rows were not, as far as anybody can tell."""
    return bool(values["images"]) and values["rejected"] <= max_bad and not values["losses_of_unknown_size"]
