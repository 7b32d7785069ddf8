"""Moves a job's files to their places when all of them are written; the summary comes last."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems

from serving.batch.account import PassedOverFiles, RejectedRows
from serving.batch.summary import Ranked, Summary
from serving.pictures.png import png_bytes
from serving.pictures.sheet import sheet_in_rows

PICTURE_COLUMNS = 10


class Places(NamedTuple):
    """The paths that a job writes to."""

    prefix: str
    """What the names of all outputs begin with."""
    folder: str
    """A folder beside them for unfinished files, deleted at the end."""

    @property
    def summary(self) -> str:
        """The file that is written last: if it is there, all of them are."""
        return f"{self.prefix}-summary.json"

    def unfinished(self, kind: str) -> str:
        """Returns the prefix under which outputs of a kind are written first."""
        return f"{self.folder}/{kind}"


class Publish(beam.DoFn):
    """Takes the summary, with the names of all files as side inputs, and moves everything to its place.

    Beam may retry a bundle that was done already: what was moved then is not missed.
    """

    def __init__(self, places: Places, facts: dict[str, Any], dimensions: int) -> None:
        self._places = places
        self._facts = facts
        self._dimensions = dimensions

    def process(
        self, summary: Summary, rejected: RejectedRows, passed_over: PassedOverFiles, *files: Iterable[str]
    ) -> Iterable[str]:
        """Publishes everything and yields the path of the summary."""
        moved = [path for paths in files for path in paths]
        for kind, ranked in (("most-likely", summary.most_likely), ("least-likely", summary.least_likely)):
            if ranked and ranked[0].pixels is not None:
                moved.append(self._write(f"{kind}.png", _picture(ranked)))
        values = {
            **self._facts,
            **rejected.to_json(),
            "passed_over": passed_over.to_json(),
            **summary.to_json(self._dimensions),
        }
        text = json.dumps(values, indent=2, allow_nan=False) + "\n"
        moved.append(self._write("summary.json", text.encode()))
        for path in moved:
            final = f"{self._places.prefix}-{posixpath.basename(path)}"
            if FileSystems.exists(path):
                FileSystems.rename([path], [final])
        FileSystems.delete([self._places.folder])
        yield self._places.summary

    def _write(self, name: str, content: bytes) -> str:
        path = self._places.unfinished(name)
        with FileSystems.create(path) as file:
            file.write(content)
        return path


def _picture(ranked: list[Ranked]) -> bytes:
    """Encodes a sheet of the images, from that at the end on."""
    images = np.stack([one.pixels for one in ranked if one.pixels is not None])
    return png_bytes(sheet_in_rows(images, min(PICTURE_COLUMNS, len(images))))
