"""The files that the job writes: scores as Parquet, CSV or JSON lines, and rejected rows as JSON lines."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import uuid
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from serving.batch.calibration import Calibration
from serving.batch.elements import Scored
from serving.batch.estimate import bits_per_dimension
from serving.images.image_elements import Rejected, printable_id
from serving.reference.image_scores import CALIBRATED

FORMATS = ("parquet", "csv", "jsonl")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("nll_bound", pa.float64(), nullable=False),
        pa.field("reconstruction", pa.float64(), nullable=False),
        pa.field("kl", pa.float64(), nullable=False),
        pa.field("standard_error", pa.float64()),
        pa.field("importance_weighted_bound", pa.float64(), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
        pa.field("bits_per_dimension", pa.float64(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        *(pa.field(name, pa.float64()) for name in CALIBRATED),
    ]
)
"""Nats an image, except the bits. The first three are means over the samples; the error is that of the bound. The last
say where the image falls in the model's reference, and are null without one."""
_ROW_GROUP = 16_384

Table = dict[str, list[Any]]


class ScoreTables(NamedTuple):
    """Makes tables of scores, with what is the same in all rows."""

    dimensions: int
    model_version: str
    calibration: Calibration | None = None

    def table(self, batch: Sequence[Scored]) -> Table:
        """Returns the columns of SCHEMA."""
        estimates = [scored.estimate for scored in batch]
        nothing = [None] * len(batch)
        bounds = [estimate.nll_bound for estimate in estimates]
        return {
            "id": [printable_id(scored.id) for scored in batch],
            "nll_bound": bounds,
            "reconstruction": [estimate.reconstruction for estimate in estimates],
            "kl": [estimate.kl for estimate in estimates],
            "standard_error": [estimate.standard_error for estimate in estimates],
            "importance_weighted_bound": [estimate.importance_weighted_bound for estimate in estimates],
            "samples": [estimate.samples for estimate in estimates],
            "bits_per_dimension": [bits_per_dimension(bound, self.dimensions) for bound in bounds],
            "model_version": [self.model_version] * len(batch),
            **(self.calibration.columns(batch) if self.calibration else dict.fromkeys(CALIBRATED, nothing)),
        }


class WriteFiles(beam.DoFn):
    """Writes one file a bundle, and yields its path; none if there is nothing to write.

    Beam's FileBasedSink takes a `[` in the folder's name for a pattern, and finds its own files no more.
    """

    def __init__(self, folder: str, kind: str) -> None:
        """Takes a kind of FORMATS, for tables by SCHEMA, or `rejected`, for Rejected."""
        self._folder = folder
        self._kind = kind
        self._writer: Any = None

    def start_bundle(self) -> None:
        """Begins a file when the first element comes."""
        self._writer = None

    def process(self, element: Any) -> None:
        """Writes one element. Raises OSError that names the file."""
        if self._kind == "jsonl" and not element["id"]:
            return  # A file without a byte is none on S3, see `publish`.
        if self._writer is None:
            suffix = "jsonl" if self._kind == "rejected" else self._kind
            self._path = f"{self._folder}/{uuid.uuid4().hex}.{suffix}"
            with naming(self._path):
                self._writer = _WRITERS[self._kind](
                    FileSystems.create(self._path, compression_type=CompressionTypes.UNCOMPRESSED)
                )
        with naming(self._path):
            self._writer.write(element)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Ends the file."""
        if self._writer is not None:
            with naming(self._path):
                self._writer.close()
            self._writer = None
            yield GlobalWindows.windowed_value(self._path)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Names the file in an OSError: that of a full disk does not."""
    try:
        yield
    except OSError as error:
        raise OSError(f"Cannot write {path}: {error.strerror or error}.") from error


class _ParquetWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._writer = pq.ParquetWriter(file, SCHEMA)
        self._tables: list[pa.Table] = []
        self._rows = 0

    def write(self, table: Table) -> None:
        # A row group is larger than a batch of the model.
        self._tables.append(pa.table(table, SCHEMA))
        self._rows += self._tables[-1].num_rows
        if self._rows >= _ROW_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()
        self._file.close()

    def _flush(self) -> None:
        if self._tables:
            self._writer.write_table(pa.concat_tables(self._tables))
            self._tables, self._rows = [], 0


class _CsvWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._write([SCHEMA.names])

    def write(self, table: Table) -> None:
        self._write(zip(*(table[name] for name in SCHEMA.names), strict=True))

    def close(self) -> None:
        self._file.close()

    def _write(self, rows: Any) -> None:
        text, lines = io.StringIO(), list(rows)
        # Python quotes no \r by itself, by which many readers end a row; ids that were read from a file may have one.
        if any("\r" in line[0] for line in lines):
            csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(lines)
        else:
            csv.writer(text, lineterminator="\n").writerows(lines)
        self._file.write(text.getvalue().encode())


class _JsonLinesWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, table: Table) -> None:
        rows = zip(*(table[name] for name in SCHEMA.names), strict=True)
        lines = [json.dumps(dict(zip(SCHEMA.names, row, strict=True))) + "\n" for row in rows]
        self._file.write("".join(lines).encode())

    def close(self) -> None:
        self._file.close()


class _RejectedWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, rejected: Rejected) -> None:
        identity = None if rejected.id is None else printable_id(rejected.id)
        line = {"id": identity, "file": rejected.place.path, "row": rejected.place.row, "reason": rejected.reason}
        self._file.write((json.dumps(line) + "\n").encode())

    def close(self) -> None:
        self._file.close()


_WRITERS = {
    "parquet": _ParquetWriter,
    "csv": _CsvWriter,
    "jsonl": _JsonLinesWriter,
    "rejected": _RejectedWriter,
}
