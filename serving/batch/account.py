"""The account of a job: what of its input has no score, in rows, and which files were not opened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import apache_beam as beam

from serving.images.image_elements import PassedOver, Rejected

NAMED = 10
"""The most files that are named; all are counted."""


class RejectedRows(NamedTuple):
    """How many rows have no score."""

    rows: int
    """Of those places whose number of rows is known."""
    unknown: int
    """Places in which rows are lost and nobody can tell how many."""

    def to_json(self) -> dict[str, int]:
        """Returns the two numbers as the summary has them."""
        return {"rejected": self.rows, "losses_of_unknown_size": self.unknown}


class PassedOverFiles(NamedTuple):
    """How many files were not opened, and the first of them."""

    files: int
    first: list[PassedOver]

    def to_json(self) -> dict[str, object]:
        """Returns both as the summary has them."""
        return {"files": self.files, "first": [passed._asdict() for passed in self.first]}


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


class CountPassedOver(beam.CombineFn):
    """Combines PassedOver to PassedOverFiles, which has the first by name."""

    def create_accumulator(self) -> PassedOverFiles:
        """Makes the count of nothing."""
        return PassedOverFiles(0, [])

    def add_input(self, count: PassedOverFiles, passed: PassedOver) -> PassedOverFiles:
        """Counts one more."""
        return PassedOverFiles(count.files + 1, sorted([*count.first, passed])[:NAMED])

    def merge_accumulators(self, counts: Iterable[PassedOverFiles]) -> PassedOverFiles:
        """Adds counts."""
        merged = self.create_accumulator()
        for count in counts:
            merged = PassedOverFiles(merged.files + count.files, sorted([*merged.first, *count.first])[:NAMED])
        return merged

    def extract_output(self, count: PassedOverFiles) -> PassedOverFiles:
        """Returns the count itself."""
        return count
