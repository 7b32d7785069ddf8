"""Moves a job's files to their places when all of them are written; the summary comes last."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems

from serving.batch.account import RejectedRows
from serving.batch.calibration import Calibration
from serving.batch.output_claim import Places, delete, outputs
from serving.batch.sinks import naming
from serving.batch.summary import Ranked, Summary, Unusual
from serving.images.image_elements import PassedOverFiles
from serving.images.input_files import PASSED_OVER
from serving.pictures.png import png_bytes
from serving.pictures.sheet import sheet_in_rows

PICTURE_COLUMNS = 10


class Publish(beam.DoFn):
    """Takes the summary, the account and the paths of all files by kind, and moves everything to its place.

    Beam may retry a bundle that was done already: what was moved then is not missed.
    """

    def __init__(
        self,
        places: Places,
        facts: dict[str, Any],
        dimensions: int,
        *,
        overwrite: bool,
        calibration: Calibration | None = None,
    ) -> None:
        self._places = places
        self._facts = facts
        self._dimensions = dimensions
        self._overwrite = overwrite
        self._calibration = calibration

    def process(self, outcome: dict[str, Any]) -> Iterable[str]:
        """Publishes everything and yields the path of the summary.

        Args:
          outcome: `scored`, a Summary; `rejected`, RejectedRows; PASSED_OVER, PassedOverFiles; `score_files`,
            `rejected_files` and, where images are flagged, `flagged_files`, lists of paths in any order.

        Raises RuntimeError if the output is no longer this job's, or has outputs of another.
        """
        summary: Summary = outcome["scored"]
        rejected: RejectedRows = outcome["rejected"]
        passed_over: PassedOverFiles = outcome[PASSED_OVER]
        moves = {
            **self._numbered("scores", outcome["score_files"]),
            **self._numbered("rejected", outcome["rejected_files"]),
            **self._numbered("flagged", outcome.get("flagged_files", ())),
        }
        shown: dict[str, Sequence[Ranked | Unusual]] = {
            "most-likely": summary.most_likely,
            "least-likely": summary.least_likely,
            "flagged": summary.most_unusual,
        }
        for kind, ranked in shown.items():
            if ranked and ranked[0].pixels is not None:
                moves.update([self._write(f"{kind}.png", _picture(ranked))])
        values = {
            **self._facts,
            **rejected.to_json(),
            "passed_over": passed_over.to_json(),
            **summary.to_json(self._dimensions),
            **self._compared(summary),
        }
        moves.update([self._write("summary.json", (json.dumps(values, indent=2, allow_nan=False) + "\n").encode())])
        self._make_room(moves)
        for path, final in moves.items():
            if FileSystems.exists(path):
                FileSystems.rename([path], [final])
        yield self._places.summary

    def _compared(self, summary: Summary) -> dict[str, Any]:
        """Returns what the reference says of all images together; null without one."""
        calibration = self._calibration
        if calibration is None or summary.sketches is None:
            return {"reference": None, "drift": None, "flagged": None}
        flagged = None
        if calibration.rule is not None:
            flagged = {
                **calibration.rule.to_json(summary.images, summary.flagged),
                "most_unusual": [unusual.to_json() for unusual in summary.most_unusual],
            }
        return {
            "reference": {"split": calibration.reference.split, "images": calibration.reference.count},
            "drift": calibration.drift_to_json(summary.sketches),
            "flagged": flagged,
        }

    def _numbered(self, kind: str, paths: Iterable[str]) -> dict[str, str]:
        """Maps the files of a kind to their places: in any order, but in the same one if Beam retries."""
        files = sorted(paths)
        return {
            path: f"{self._places.prefix}-{kind}-{number:05d}-of-{len(files):05d}{posixpath.splitext(path)[1]}"
            for number, path in enumerate(files)
        }

    def _make_room(self, moves: dict[str, str]) -> None:
        """Removes an earlier job's outputs, its summary first, which says that the others are whole."""
        if not self._places.is_held:
            raise RuntimeError(
                f"{self._places.prefix}-* is no longer this job's: it was interrupted, or another job writes there. "
                "Nothing is published."
            )
        begun = f"{self._places.folder}/publishing"
        if FileSystems.exists(begun):
            return  # What is there now is from an earlier attempt of this bundle.
        there = outputs(self._places.prefix)
        if there and not self._overwrite:
            raise RuntimeError(
                f"{there[0]} came into being while this job ran: nothing is published. Choose another output, or "
                "--overwrite."
            )
        summary = self._places.summary
        for path in sorted(there, key=lambda path: path != summary):
            # The others that get a successor are replaced.
            if path == summary or path not in moves.values():
                delete(path)
        with FileSystems.create(begun) as file:
            file.write(b"begun")  # not nothing: Beam cannot end an upload to S3 that has no part

    def _write(self, name: str, content: bytes) -> tuple[str, str]:
        path = f"{self._places.folder}/{name}"
        with naming(path), FileSystems.create(path) as file:
            file.write(content)
        return path, f"{self._places.prefix}-{name}"


def _picture(ranked: Sequence[Ranked | Unusual]) -> bytes:
    """Encodes a sheet of the images, from that at the end on."""
    images = np.stack([one.pixels for one in ranked if one.pixels is not None])
    return png_bytes(sheet_in_rows(images, min(PICTURE_COLUMNS, len(images))))
