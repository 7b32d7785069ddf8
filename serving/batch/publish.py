"""Moves a job's files to where they belong when all of them are written; the summary comes last."""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Iterable
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems

from serving.batch.summary import Ranked, Summary
from serving.pictures.sheet import sheet, to_bytes

PICTURE_COLUMNS = 10


class Places(NamedTuple):
    """Where a job writes."""

    prefix: str
    """Of all its outputs."""
    folder: str
    """Beside them, for what is not finished; it goes away at the end."""

    @property
    def summary(self) -> str:
        """Written last: where it is, everything is."""
        return f"{self.prefix}-summary.json"

    def unfinished(self, kind: str) -> str:
        """The prefix under which outputs of a kind are written first."""
        return f"{self.folder}/{kind}"


class Publish(beam.DoFn):
    """The summary in, with the names of all files as side inputs. A bundle that is tried again finds its work done."""

    def __init__(self, places: Places, facts: dict[str, Any], dimensions: int) -> None:
        self._places = places
        self._facts = facts
        self._dimensions = dimensions

    def process(self, summary: Summary, rejected: int, *files: Iterable[str]) -> Iterable[str]:
        """Yields the path of the summary."""
        moved = [path for paths in files for path in paths]
        for kind, ranked in (("most-likely", summary.most_likely), ("least-likely", summary.least_likely)):
            if ranked and ranked[0].pixels is not None:
                moved.append(self._write(f"{kind}.png", _picture(ranked)))
        values = {**self._facts, "rejected": rejected, **summary.to_json(self._dimensions)}
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
    """The images from the one at the end on, in rows."""
    pixels = to_bytes(np.stack([one.pixels for one in ranked if one.pixels is not None]))
    file = io.BytesIO()
    sheet(pixels, min(PICTURE_COLUMNS, len(pixels))).save(file, format="PNG")
    return file.getvalue()
