"""The formats of files that hold images: how a file is cut into pieces, and how its rows are read."""

from __future__ import annotations

import io
import math
import posixpath
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from serving.examples import ExampleFeatures
from serving.image_files import ARRAY, decode_picture
from serving.image_format import BadImage, ImageFormat

IDS = "id"
"""The array or column that holds the images' ids."""
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")

_ROWS_A_PIECE = 8192
_ROWS_AT_ONCE = 256
UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, tf.errors.OpError, pa.ArrowException)
"""Errors that reading a broken file may raise."""


class Row(NamedTuple):
    """One image of a file, not yet decoded."""

    number: int
    id: bytes | None
    """None if the file has no ids."""
    read: Callable[[], np.ndarray]
    """Returns [H, W, C] float32, or raises BadImage."""


class Piece(NamedTuple):
    """Some rows of a file, read by one worker."""

    path: str
    first: int = 0
    rows: int | None = None
    """None for all."""
    group: int | None = None
    """The row group of a Parquet file."""


def pieces(path: str, images: ImageFormat) -> Iterator[Piece]:
    """Cuts a file into pieces that can be read in parallel. Raises one of UNREADABLE."""
    suffix = _suffix(path)
    if suffix == ".npy":
        with _open(path) as file:
            count = _rows_header(file, images).shape[0]
        for first in range(0, count, _ROWS_A_PIECE):
            yield Piece(path, first, min(_ROWS_A_PIECE, count - first))
    elif suffix == ".parquet":
        with _open(path) as file:
            metadata = pq.ParquetFile(file).metadata
            counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        for group, count in enumerate(counts):
            yield Piece(path, sum(counts[:group]), count, group)
    else:
        yield Piece(path)


def rows(piece: Piece, images: ImageFormat) -> Iterator[Row]:
    """Yields the rows of a piece. The name's ending is the format; a file without a known one holds tf.Examples.

    Raises one of UNREADABLE at the place where a file is broken; the rows before are sound.
    """
    suffix = _suffix(piece.path)
    if suffix == ".npy":
        return _npy(piece, images)
    if suffix == ".npz":
        return _npz(piece, images)
    if suffix == ".parquet":
        return _parquet(piece, images)
    if suffix in PICTURES:
        return _picture(piece, images)
    return _examples(piece, images)


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


def _open(path: str) -> IO[bytes]:
    file: IO[bytes] = FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)
    return file


def _examples(piece: Piece, images: ImageFormat) -> Iterator[Row]:
    records = tf.data.TFRecordDataset(piece.path, compression_type="GZIP" if piece.path.endswith(".gz") else "")
    number = 0
    try:
        # Many at once, because a call into TensorFlow takes longer than a record.
        for batch in records.batch(_ROWS_AT_ONCE).as_numpy_iterator():
            for serialised in batch:
                yield _example(number, serialised, images)
                number += 1
    except tf.errors.OpError:
        # The sound records of the batch that could not be filled, and then the error again.
        for serialised in records.skip(number).as_numpy_iterator():
            yield _example(number, serialised, images)
            number += 1


def _example(number: int, serialised: bytes, images: ImageFormat) -> Row:
    try:
        features = ExampleFeatures(serialised)
        identity, image = features.id, features.image
    except BadImage as error:
        return Row(number, None, lambda error=error: _raise(error))  # type: ignore[misc]
    return Row(number, identity, lambda: images.from_bytes(image))


def _raise(error: BadImage) -> np.ndarray:
    raise error


def _npy(piece: Piece, images: ImageFormat) -> Iterator[Row]:
    with _open(piece.path) as file:
        header = _rows_header(file, images)
        file.seek(piece.first * header.row_bytes, io.SEEK_CUR)
        for number, pixels in enumerate(_array_rows(file, header, piece.rows), piece.first):
            yield Row(number, None, lambda pixels=pixels: images.from_pixels(pixels))  # type: ignore[misc]


def _npz(piece: Piece, images: ImageFormat) -> Iterator[Row]:
    with _open(piece.path) as file, zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        arrays = [name for name in names if name != IDS]
        if ARRAY not in arrays and len(arrays) != 1:
            raise ValueError(f"it holds the arrays {names}; expected one, or one with the name {ARRAY!r}")
        ids = None
        if IDS in names:
            with archive.open(f"{IDS}.npy") as member:
                ids = np.lib.format.read_array(member, allow_pickle=False)
        with archive.open(f"{ARRAY if ARRAY in arrays else arrays[0]}.npy") as member:
            header = _rows_header(member, images)
            if ids is not None and len(ids) != header.shape[0]:
                raise ValueError(f"it holds {len(ids):,} ids for {header.shape[0]:,} images")
            for number, pixels in enumerate(_array_rows(member, header, None)):
                identity = None if ids is None else _id(ids[number].item())
                yield Row(number, identity, lambda pixels=pixels: images.from_pixels(pixels))  # type: ignore[misc]


class _ArrayHeader(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_items(self) -> int:
        return math.prod(self.shape[1:])

    @property
    def row_bytes(self) -> int:
        return self.row_items * self.dtype.itemsize


def _rows_header(file: IO[bytes], images: ImageFormat) -> _ArrayHeader:
    """Reads the header of the array that follows; a single image gets the axis of rows that it lacks."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its .npy format is {version}; expected 1.0 or 2.0, as NumPy writes arrays of numbers")
    shape, is_fortran, dtype = readers[version](file)
    if is_fortran:
        raise ValueError("its array is in Fortran's order; save numpy.ascontiguousarray of it")
    if dtype.hasobject:
        raise ValueError("its array holds Python objects; expected numbers")
    is_one_image = shape == images.shape or (images.shape[2] == 1 and shape == images.shape[:2])
    return _ArrayHeader((1, *shape) if is_one_image or not shape else shape, dtype)


def _array_rows(file: IO[bytes], header: _ArrayHeader, count: int | None) -> Iterator[np.ndarray]:
    """Yields the next `count` rows, or all, with only some of them in memory."""
    remaining = header.shape[0] if count is None else count
    while remaining:
        raw = _read_fully(file, min(remaining, _ROWS_AT_ONCE) * header.row_bytes)
        together = len(raw) // header.row_bytes if header.row_bytes else remaining
        if not together:
            raise EOFError("the file ends before its array does")
        yield from np.frombuffer(raw, header.dtype, together * header.row_items).reshape(together, *header.shape[1:])
        remaining -= together


def _read_fully(file: IO[bytes], size: int) -> bytes:
    """Reads `size` bytes, or fewer at the end of the file."""
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _parquet(piece: Piece, images: ImageFormat) -> Iterator[Row]:
    with _open(piece.path) as file:
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
        if ARRAY not in names:
            raise ValueError(f"it has the columns {names}; expected one with the name {ARRAY!r}")
        columns = [name for name in (ARRAY, IDS) if name in names]
        number = piece.first
        for batch in table.iter_batches(_ROWS_AT_ONCE, row_groups=[piece.group], columns=columns):
            for row in batch.to_pylist():
                identity = None if row.get(IDS) is None else _id(row[IDS])
                yield Row(number, identity, lambda value=row[ARRAY]: _from_cell(value, images))  # type: ignore[misc]
                number += 1


def _from_cell(value: Any, images: ImageFormat) -> np.ndarray:
    """Decodes raw pixels, a picture's bytes, alone or in a struct with its path, or lists of numbers."""
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, bytes):
        return images.from_bytes(value) if images.may_be_pixels(value) else _from_picture(io.BytesIO(value), images)
    if not isinstance(value, list):
        raise BadImage(f"its cell holds {type(value).__name__}; expected bytes or a list of numbers")
    try:
        pixels = np.array(value)
    except ValueError as error:
        raise BadImage("its lists are not of one length") from error
    return images.from_pixels(pixels.reshape(images.shape) if pixels.shape == (images.dimensions,) else pixels)


def _picture(piece: Piece, images: ImageFormat) -> Iterator[Row]:
    def read() -> np.ndarray:
        with _open(piece.path) as file:
            return _from_picture(io.BytesIO(file.read()), images)

    yield Row(0, None, read)


def _from_picture(file: IO[bytes], images: ImageFormat) -> np.ndarray:
    try:
        pixels = decode_picture(file, images.shape[2])
    except UnidentifiedImageError as error:  # its own message names an object in memory
        raise BadImage("it is no picture of a known format") from error
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        raise BadImage(f"it cannot be read as a picture: {error}") from error
    return images.from_pixels(pixels)


def _id(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
