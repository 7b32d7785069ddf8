"""Tables of images: Parquet with an image a cell, and CSV with a pixel a cell, as MNIST is known on Kaggle."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from serving.images.array_files import ID_NAMES, IMAGE_NAMES, Label, as_label
from serving.images.bad_image import BadImage
from serving.images.image_format import ImageFormat

_ROWS_AT_ONCE = 256
_BYTES_AT_ONCE = 2**24
_MAX_CELL = 2**30
_PARQUET_COLUMNS = (*IMAGE_NAMES, "img")
"""The last is that of Hugging Face's cifar10."""
_ID_COLUMNS = (*ID_NAMES, "imageid")
_LABEL_COLUMNS = ("label", "labels", "class", "target", "y")
_NO_PIXELS = (*_LABEL_COLUMNS, *_ID_COLUMNS)
_MAX_LINE = 2**24

Pixels = Callable[[], np.ndarray]


class Cells(NamedTuple):
    """A row of a table."""

    id: bytes | None
    pixels: Pixels
    """Returns [H, W, C] float32, or raises BadImage."""
    label: Label | None = None
    """The class's number or name; None where there is none."""


def parquet_row_counts(file: IO[bytes]) -> list[int]:
    """Returns the rows of each row group. Raises ValueError if there is no column of images."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file)
    _image_column(table.schema_arrow.names)
    counts = [table.metadata.row_group(group).num_rows for group in range(table.metadata.num_row_groups)]
    if any(count < 0 for count in counts) or sum(counts) != table.metadata.num_rows:
        raise ValueError(f"it claims {table.metadata.num_rows:,} rows in groups of {counts}")
    return counts


def parquet_class_names(file: IO[bytes]) -> tuple[str, ...]:
    """Returns the names of the labels where Hugging Face's `datasets` has written them; empty where it has not."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(file)
    label = next((name for name in schema.names if name in _LABEL_COLUMNS), None)
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def read_parquet(file: IO[bytes], group: int, images: ImageFormat) -> Iterator[Cells]:
    """Yields the rows of a row group."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file)
    names = table.schema_arrow.names
    image = _image_column(names)
    identity = next((name for name in names if name in ID_NAMES), None)
    label = next((name for name in names if name in _LABEL_COLUMNS), None)
    columns = [name for name in (image, identity, label) if name is not None]
    for batch in table.iter_batches(_rows_at_once(table, group), row_groups=[group], columns=columns):
        ids = itertools.repeat(None) if identity is None else _column(batch, identity).to_pylist()
        labels = itertools.repeat(None) if label is None else _column(batch, label).to_pylist()
        for cell, value, kind in zip(_column(batch, image), ids, labels):  # noqa: B905  # repeat() has no end
            name = None if value is None else _as_bytes(value)
            yield Cells(name, lambda cell=cell: _from_cell(cell, images), as_label(kind))  # type: ignore[misc]


def _column(batch: Any, name: str) -> Any:
    place = batch.schema.get_field_index(name)
    if place < 0:
        raise ValueError(f"it has several columns with the name {name!r}")
    return batch.column(place)


def _rows_at_once(table: Any, group: int) -> int:
    """Returns how many rows of a row group fit into memory well, by their size when they are not compressed."""
    metadata = table.metadata.row_group(group)
    sizes = [metadata.column(place).total_uncompressed_size for place in range(metadata.num_columns)]
    row_bytes = max(sizes, default=0) // max(1, metadata.num_rows)
    if row_bytes > _MAX_CELL:
        raise ValueError(f"its rows have {row_bytes:,} bytes each; expected at most {_MAX_CELL:,}")
    return max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // max(1, row_bytes)))


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _image_column(names: list[str]) -> str:
    for name in _PARQUET_COLUMNS:
        if name in names:
            return name
    raise ValueError(f"it has the columns {names}; expected one with the name {IMAGE_NAMES[0]!r}")


def _from_cell(cell: Any, images: ImageFormat) -> np.ndarray:
    """Decodes raw pixels, a picture's bytes, alone or in a struct with its path, or lists of numbers."""
    # Lists stay Arrow's: as Python's they are ten times as large.
    if _is_list(cell.type) and cell.is_valid:
        return images.from_pixels(_as_array(cell.values))
    value = cell.as_py()
    if isinstance(value, dict):
        value = value.get("bytes")
    if not isinstance(value, bytes):
        raise BadImage(f"its cell holds {type(value).__name__}; expected bytes or a list of numbers")
    return images.from_cell(value)


def _as_array(values: Any) -> np.ndarray:
    """Makes an array of Arrow's numbers, or lists of one length."""
    import pyarrow.compute as pc

    if not _is_list(values.type):
        array: np.ndarray = values.to_numpy(zero_copy_only=False)
        return array
    lengths = pc.list_value_length(values).unique().to_pylist()
    if len(lengths) != 1 or lengths[0] is None:
        raise BadImage("its lists are not of one length")
    inner = _as_array(values.flatten())
    return inner.reshape(len(values), lengths[0], *inner.shape[1:])


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return any(check(kind) for check in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def read_csv(file: IO[bytes], images: ImageFormat) -> Iterator[Cells]:
    """Yields the rows of a CSV file with a pixel a cell.

    The first line may name the columns; all are pixels but those named as a label or an id. Without names a cell more
    than there are pixels is the label, which comes first. Where pandas has named the columns 0, 1, 2 and so on, the
    line is refused as a row, unless it goes beyond what a pixel can be. Raises ValueError if the file is no such table.
    """
    lines = _lines(file)
    first = next(lines, "")
    names = [cell.strip(' "').lower() for cell in first.split(",")]
    columns, identity, label = list(range(len(names))), None, None
    counts = names == [str(place) for place in range(len(names))]
    are_numbers = [_is_number(name) for name in names]
    if has_names := not any(are_numbers) or not {*names}.isdisjoint(_NO_PIXELS) or (counts and len(names) > 256):
        columns = [place for place, name in enumerate(names) if name not in _NO_PIXELS]
        identity = next((place for place, name in enumerate(names) if name in _ID_COLUMNS), None)
        label = next((place for place, name in enumerate(names) if name in _LABEL_COLUMNS), None)
    elif not all(are_numbers):
        hole = names[are_numbers.index(False)]
        raise ValueError(
            f"its first line has {hole[:40]!r} among numbers, so it may be names or a row; expected 'label' or 'id' "
            "among names, and numbers alone in a row"
        )
    elif not images.takes((len(columns),)):
        label = columns.pop(0)
    if not images.takes((len(columns),)):
        raise ValueError(
            f"its first line is {first[:60]!r}, of {len(names):,} columns; expected a column for each pixel of a grey "
            f"image, {images.shape[0] * images.shape[1]:,}, and maybe 'label' and 'id'. A table of labels beside "
            "pictures is not read: lay these into a folder for each class"
        )
    for line in lines if has_names else itertools.chain([first], lines):
        cells = [cell.strip(' "') for cell in line.split(",")]
        name = None if identity is None or identity >= len(cells) else cells[identity].encode()
        kind: Label | None = None
        if label is not None and label < len(cells):
            kind = as_label(float(cells[label])) if _is_number(cells[label]) else cells[label] or None
        if counts and cells == names:
            yield Cells(name, _refuse_counting, kind)
            continue
        yield Cells(name, lambda cells=cells: _from_cells(cells, len(names), columns, images), kind)  # type: ignore[misc]


def _lines(file: IO[bytes]) -> Iterator[str]:
    """Yields the lines that are not blank. Raises ValueError at one that is endless or no text."""
    with io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        while line := text.readline(_MAX_LINE):
            if len(line) == _MAX_LINE:
                raise ValueError(f"a line has more than {_MAX_LINE:,} characters")
            if line.strip():
                yield line.rstrip("\r\n")


def _refuse_counting() -> np.ndarray:
    raise BadImage(
        "its line counts from 0, as the columns do that pandas names; write no names (header=False) or others, or, if "
        "it is an image, another format"
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _from_cells(cells: list[str], expected: int, columns: list[int], images: ImageFormat) -> np.ndarray:
    if len(cells) != expected:
        raise BadImage(f"its line has {len(cells):,} cells; expected {expected:,}")
    values = [cells[column] for column in columns]
    try:
        pixels = np.array(values, np.float64)
    except ValueError:
        bad = next(value for value in values if not _is_number(value))
        raise BadImage(f"a cell holds {bad[:40]!r}; expected a number") from None
    are_integers = np.isfinite(pixels).all() and not any(set(".eE") & set(value) for value in values)
    if are_integers and not images.binary and pixels.max() == 1:
        # Written with few digits, floats from 0 to 1 look the same.
        raise BadImage("its cells are 0 and 1 alone, which may be black and white or two dark greys; write 0 to 255")
    return images.from_pixels(pixels.astype(np.int64) if are_integers else pixels)
