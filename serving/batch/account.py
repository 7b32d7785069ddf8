"""The account of a job: what of its input has no score, and all that is counted on the way, in one combination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import apache_beam as beam

from serving.images.image_elements import Rejected


class RejectedRows(NamedTuple):
    """How many rows have no score."""

    rows: int
    """Of those places whose number of rows is known."""
    unknown: int
    """Places in which rows are lost and nobody can tell how many."""

    def to_json(self) -> dict[str, int]:
        """Returns the two numbers as the summary has them."""
        return {"rejected": self.rows, "losses_of_unknown_size": self.unknown}


class CountRejected(beam.CombineFn):
    """Combines Rejected to RejectedRows."""

    def create_accumulator(self) -> RejectedRows:
        """Makes the count of nothing."""
        return RejectedRows(0, 0)

    def add_input(self, count: RejectedRows, rejected: Rejected) -> RejectedRows:
        """Counts one more."""
        if rejected.rows is None:
            return count._replace(unknown=count.unknown + 1)
        return count._replace(rows=count.rows + rejected.rows)

    def merge_accumulators(self, counts: Iterable[RejectedRows]) -> RejectedRows:
        """Adds counts."""
        return RejectedRows(*map(sum, zip(self.create_accumulator(), *counts, strict=True)))

    def extract_output(self, count: RejectedRows) -> RejectedRows:
        """Returns the count itself."""
        return count


class TheOne(beam.CombineFn):
    """Gives the one element that there is."""

    def create_accumulator(self) -> list[Any]:
        """Makes the list of none."""
        return []

    def add_input(self, elements: list[Any], element: Any) -> list[Any]:
        """Takes it."""
        return [*elements, element]

    def merge_accumulators(self, several: Iterable[list[Any]]) -> list[Any]:
        """Joins lists of it and of none."""
        return [element for elements in several for element in elements]

    def extract_output(self, elements: list[Any]) -> Any:
        """Returns it. Raises ValueError if there is none, or there are several."""
        (element,) = elements
        return element


class CombineByKind(beam.CombineFn):
    """Combines pairs of a kind and an element, those of each kind by its own CombineFn, to a dict by kind.

    An engine such as Flink starts workers anew for each stage, and each combination by itself would be two stages.
    """

    def __init__(self, combine_fns: Mapping[str, beam.CombineFn]) -> None:
        self._combine_fns = dict(combine_fns)

    def create_accumulator(self) -> dict[str, Any]:
        """Makes an accumulator for each kind."""
        return {kind: combine.create_accumulator() for kind, combine in self._combine_fns.items()}

    def add_input(self, accumulators: dict[str, Any], pair: tuple[str, Any]) -> dict[str, Any]:
        """Adds an element to that of its kind."""
        kind, element = pair
        accumulators[kind] = self._combine_fns[kind].add_input(accumulators[kind], element)
        return accumulators

    def merge_accumulators(self, several: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """Merges those of each kind."""
        all_of_them = list(several)
        return {
            kind: combine.merge_accumulators([accumulators[kind] for accumulators in all_of_them])
            for kind, combine in self._combine_fns.items()
        }

    def extract_output(self, accumulators: dict[str, Any]) -> dict[str, Any]:
        """Returns the output of each kind."""
        return {kind: combine.extract_output(accumulators[kind]) for kind, combine in self._combine_fns.items()}
