"""Beam sinks of the job: scores as Parquet, CSV or JSON lines, and rejected rows as JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import IO, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.coders import coders
from apache_beam.io.filebasedsink import FileBasedSink
from apache_beam.io.filesystem import CompressionTypes

from serving.batch.elements import Scored
from serving.batch.estimate import bits_per_dimension
from serving.images.image_elements import Rejected, printable_id

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
    ]
)
"""Nats an image, except the bits. The first three are means over the samples; the error is that of the bound."""
_ROW_GROUP = 16_384

Table = dict[str, list[Any]]


class ScoreTables(NamedTuple):
    """Makes tables of scores, with what is the same in all rows."""

    dimensions: int
    model_version: str

    def table(self, batch: Sequence[Scored]) -> Table:
        """Returns the columns of SCHEMA."""
        estimates = [scored.estimate for scored in batch]
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
        }


def score_sink(prefix: str, file_format: str) -> FileBasedSink:
    """Makes a sink of tables by SCHEMA. Raises KeyError for a format that is none of FORMATS."""
    writer = {"parquet": _ParquetWriter, "csv": _CsvWriter, "jsonl": _JsonLinesWriter}[file_format]
    return _Sink(prefix, f".{file_format}", writer)


def rejected_sink(prefix: str) -> FileBasedSink:
    """Makes a sink of Rejected, which writes no file if there is none."""
    return _Sink(prefix, ".jsonl", _RejectedWriter, skip_if_empty=True)


class _Sink(FileBasedSink):
    """Writes files with one of the writers below."""

    def __init__(
        self, prefix: str, suffix: str, writer: Callable[[IO[bytes]], Any], *, skip_if_empty: bool = False
    ) -> None:
        super().__init__(
            prefix,
            coders.FastPrimitivesCoder(),
            suffix,
            compression_type=CompressionTypes.UNCOMPRESSED,
            skip_if_empty=skip_if_empty,
        )
        self._writer = writer

    def open(self, temp_path: str) -> Any:
        """Opens a file; Beam calls the writer its file handle."""
        return self._writer(super().open(temp_path))

    def write_record(self, file_handle: Any, value: Any) -> None:
        """Writes one element of the collection."""
        file_handle.write(value)

    def close(self, file_handle: Any) -> None:
        """Ends the file."""
        file_handle.close()


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
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
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
