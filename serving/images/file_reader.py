"""Reads the images of one file, whatever its format: every row that the file claims is given, or is counted as lost."""

from __future__ import annotations

import functools
import io
import itertools
import lzma
import os
import posixpath
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

import numpy as np

from serving.images import array_files, file_names, image_tables, picture_archives, tfrecord_framing
from serving.images.array_files import ArrayHeader, Label
from serving.images.bad_image import BadImage
from serving.images.example_features import ExampleFeatures
from serving.images.image_format import ImageFormat
from serving.images.picture_archives import MAX_PICTURE
from serving.images.picture_decoder import is_picture

_ROWS_A_PIECE = 8192
_HEAD = 64
"""Bytes that show a file's format."""
_WITH_MESSAGES = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""Errors whose messages can be read without the name of their class."""

Opener = Callable[[str], IO[bytes]]


class Row(NamedTuple):
    """One image of a file, not yet decoded."""

    number: int
    id: bytes | None
    """None if the file has no ids."""
    read: Callable[[], np.ndarray]
    """Returns [H, W, C] float32, or raises BadImage."""
    label: Label | None = None
    """The class's number or name, where the file has it."""


class Lost(NamedTuple):
    """Rows that a file has, or claims to have, and that cannot be read."""

    number: int | None
    """The first of them; None for the whole file."""
    rows: int | None
    """None where the file does not say how many."""
    reason: str


class Piece(NamedTuple):
    """Some rows of a file, read by one worker."""

    path: str
    format: str
    """One of `file_names`."""
    first: int = 0
    rows: int | None = None
    """How many rows the file claims to have here; None where it does not say."""
    part: str | int | None = None
    """The array of an .npz file, or the row group of a Parquet file."""
    several: bool = False
    """Whether the file has other parts whose rows are numbered from 0 too."""
    gzipped: bool = False

    def row_id(self, row: Row, name: str) -> bytes:
        """Returns the id of a row, or where it has none, the one that follows from the file's name and its place."""
        if row.id is not None:
            # A picture of an archive has the archive's name, and others of that name may be in other folders.
            is_member = self.format in file_names.ARCHIVES
            return os.path.join(os.fsencode(posixpath.dirname(name)), row.id) if is_member else row.id
        if self.format != file_names.PICTURE:
            name += f":{self.part}:{row.number}" if self.several else f":{row.number}"
        return os.fsencode(name)


def open_local(path: str) -> IO[bytes]:
    """Opens a regular file. Raises OSError, for what would wait for ever too, such as a FIFO."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise OSError(f"it is {kind}; expected a file")
    return open(path, "rb")


def pieces(path: str, images: ImageFormat, open_file: Opener) -> Iterator[Piece | Lost]:
    """Cuts a file into pieces that can be read in parallel, and reads no more of it than its headers.

    Together the pieces have all rows that the headers claim, but those that are given as Lost. No error of the file is
    raised.
    """
    try:
        yield from _pieces(path, images, open_file)
    except ModuleNotFoundError:
        raise  # a library that is not installed is no fault of the file
    # Damaged files make their libraries raise almost anything; whatever it is, it is the file's.
    except Exception as error:
        yield Lost(None, None, f"it cannot be read: {_reason(error)}")


def rows(piece: Piece, images: ImageFormat, open_file: Opener) -> Iterator[Row | Lost]:
    """Yields the rows of a piece, and what of it is lost. No error of the file is raised."""
    number = piece.first
    reason = "the file ends here"
    try:
        with open_file(piece.path) as file, tfrecord_framing.unzipped(file) as content:
            if piece.gzipped and piece.format != file_names.EXAMPLES:
                # A record has a checksum of its own; all else would be given before the end, where the file's is.
                array_files.read_to_end(content)
                content.seek(0)
            for row in _READERS[piece.format](content, piece, images):
                yield row
                number = row.number + 1
    except ModuleNotFoundError:
        raise
    except Exception as error:
        reason = _reason(error)
        if piece.rows is None or number >= piece.first + piece.rows:
            yield Lost(number, None, f"from here on the file cannot be read: {reason}")
    if piece.rows is not None and number < piece.first + piece.rows:
        lost = piece.first + piece.rows - number
        yield Lost(number, lost, f"from here on the file cannot be read: {reason}")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__) if isinstance(error, _WITH_MESSAGES) else repr(error)


def _pieces(path: str, images: ImageFormat, open_file: Opener) -> Iterator[Piece | Lost]:
    file_format = file_names.format_by_name(path)
    if file_format == file_names.PICTURE and not path.lower().endswith(".gz"):
        yield Piece(path, file_format, rows=1)
        return
    with open_file(path) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(_HEAD)
        gzipped = tfrecord_framing.is_gzipped(head)
        file.seek(0)
        with tfrecord_framing.unzipped(file) as content:
            if gzipped:
                head = content.read(_HEAD)
                content.seek(0)
            elif not size:
                raise ValueError("it is empty")
            piece = Piece(path, file_format or _format_by_content(head), gzipped=gzipped)
            yield from _cut(content, piece, None if gzipped else size, images)


def _format_by_content(head: bytes) -> str:
    if not head or tfrecord_framing.begins_with_record(head):
        return file_names.EXAMPLES
    if array_files.is_idx(head):
        return file_names.IDX
    for signature, file_format in (
        (b"\x93NUMPY", file_names.NPY),
        (b"PK\3\4", file_names.NPZ),
        (b"PAR1", file_names.PARQUET),
    ):
        if head.startswith(signature):
            return file_format
    if is_picture(head):
        return file_names.PICTURE
    if head[4:8] == b"ftyp":
        raise ValueError("it is a HEIC, AVIF or MP4 file, which is not read; save it as JPEG or PNG")
    raise ValueError(
        f"it begins with {head[:8].hex(' ')}; expected a TFRecord, .npy, .npz, IDX, Parquet or CSV file, or a picture"
    )


def _cut(file: IO[bytes], piece: Piece, size: int | None, images: ImageFormat) -> Iterator[Piece | Lost]:
    """Yields the pieces of a file that `piece` stands for as a whole."""
    if piece.format in (file_names.NPY, file_names.IDX):
        is_npy = piece.format == file_names.NPY
        header = array_files.read_npy_header(file) if is_npy else array_files.read_idx_header(file)
        yield from _cut_array(header, piece, None if size is None else size - file.tell(), images)
    elif piece.format == file_names.NPZ:
        with zipfile.ZipFile(file) as archive:
            array_files.check_directory(file, archive)
            arrays = array_files.image_arrays(array_files.array_names(archive))
            for name in arrays:
                array = piece._replace(part=name, several=len(arrays) > 1)
                with archive.open(f"{name}.npy") as member:
                    header = array_files.read_npy_header(member)
                    left = archive.getinfo(f"{name}.npy").file_size - member.tell()
                yield from _cut_array(header, array, left, images)
    elif piece.format == file_names.PARQUET:
        counts = image_tables.parquet_row_counts(file)
        for group, first in enumerate(itertools.accumulate(counts[:-1], initial=0)):
            yield piece._replace(first=first, rows=counts[group], part=group)
    else:
        yield piece._replace(rows=1 if piece.format == file_names.PICTURE else None)


def _cut_array(header: ArrayHeader, piece: Piece, size: int | None, images: ImageFormat) -> Iterator[Piece | Lost]:
    """Yields the pieces of an array that is followed by `size` bytes after its header, where that is known."""
    shape, header = header.shape, _with_rows(header, images)
    claimed = header.shape[0]
    try:
        images.whole_shape(header.shape[1:])
    except BadImage:
        yield Lost(None, claimed, f"its array has the shape {list(shape)}; expected {images.array_shapes()}")
        return
    if header.dtype.kind not in "biuf":
        yield Lost(None, claimed, f"its pixels are {header.dtype}; expected integers or floats")
        return
    if header.row_bytes > MAX_PICTURE:
        yield Lost(None, claimed, f"its rows have {header.row_bytes:,} bytes each; expected at most {MAX_PICTURE:,}")
        return
    sound = claimed if size is None else min(claimed, size // header.row_bytes)
    step = _ROWS_A_PIECE if piece.format == file_names.NPY and not piece.gzipped else max(1, sound)
    for first in range(0, sound, step):
        yield piece._replace(first=first, rows=min(step, sound - first))
    if sound < claimed:
        yield Lost(sound, claimed - sound, f"its header claims {claimed:,} rows, and the file ends after {sound:,}")
    elif size is not None and size > header.nbytes:
        yield Lost(claimed, None, f"{size - header.nbytes:,} bytes follow its array of {claimed:,} rows")


def _with_rows(header: ArrayHeader, images: ImageFormat) -> ArrayHeader:
    """Gives a single image the axis of rows that it lacks."""
    shape = header.shape
    # Rows of as many pixels as an image has are images, also where a single image may have any size.
    are_flat = len(shape) == 2 and images.takes(shape[1:])
    is_single = not shape or (images.takes(shape) and not are_flat)
    return header._replace(shape=(1, *shape)) if is_single else header


def _arrays(file: IO[bytes], piece: Piece, images: ImageFormat) -> Iterator[Row]:
    is_npy = piece.format == file_names.NPY
    header = array_files.read_npy_header(file) if is_npy else array_files.read_idx_header(file)
    return _array_rows(file, header, piece, images, itertools.repeat(None), itertools.repeat(None))


def _npz(file: IO[bytes], piece: Piece, images: ImageFormat) -> Iterator[Row]:
    with zipfile.ZipFile(file) as archive:
        all_names = array_files.array_names(archive)
        names = [name for name in all_names if name in array_files.ID_NAMES]
        kinds = array_files.label_array(all_names, str(piece.part))
        for name in (piece.part, *names[:1]):
            # Rows would be given before the end, where it shows that they are damaged.
            with archive.open(f"{name}.npy") as member:
                array_files.read_to_end(member)
        with archive.open(f"{piece.part}.npy") as member:
            header = array_files.read_npy_header(member)
            ids: Iterator[bytes | None] = itertools.repeat(None)
            if names and not piece.several:
                ids = array_files.read_ids(archive, names[0], _with_rows(header, images).shape[0])
            labels: Iterator[Label | None] = itertools.repeat(None)
            if kinds:
                labels = array_files.read_labels(archive, kinds, _with_rows(header, images).shape[0])
            yield from _array_rows(member, header, piece, images, ids, labels)


def _array_rows(
    file: IO[bytes],
    header: ArrayHeader,
    piece: Piece,
    images: ImageFormat,
    ids: Iterator[bytes | None],
    labels: Iterator[Label | None],
) -> Iterator[Row]:
    header = _with_rows(header, images)
    if piece.first:
        file.seek(piece.first * header.row_bytes, io.SEEK_CUR)
    for number, pixels in enumerate(array_files.read_rows(file, header, piece.rows or 0), piece.first):
        yield Row(number, next(ids), lambda pixels=pixels: images.from_pixels(pixels), next(labels))  # type: ignore[misc]
    if piece.gzipped and file.read(1):
        raise ValueError("bytes follow its array")


def _tables(file: IO[bytes], piece: Piece, images: ImageFormat) -> Iterator[Row]:
    if isinstance(piece.part, int):
        cells = image_tables.read_parquet(file, piece.part, images)
    else:
        cells = image_tables.read_csv(file, images)
    for number, row in enumerate(cells, piece.first):
        yield Row(number, row.id, row.pixels, row.label)


def _examples(file: IO[bytes], piece: Piece, images: ImageFormat) -> Iterator[Row]:
    for number, serialised in enumerate(tfrecord_framing.read_framed(file)):
        yield _example(number, serialised, images)


def _example(number: int, serialised: bytes | None, images: ImageFormat) -> Row:
    try:
        if serialised is None:
            raise BadImage("the record does not fit its checksum")
        features = ExampleFeatures(serialised)
        identity, image, label = features.id, features.image, features.label
    except BadImage as error:
        return Row(number, None, lambda error=error: _raise(error))  # type: ignore[misc]
    return Row(number, identity, lambda: images.from_cell(image), label)


def _raise(error: BadImage) -> np.ndarray:
    raise error


def _archive(file: IO[bytes], piece: Piece, images: ImageFormat) -> Iterator[Row]:
    archive = posixpath.basename(piece.path)
    for number, member in enumerate(picture_archives.read_members(file, piece.format)):
        name = os.fsencode(posixpath.normpath(posixpath.join(archive, member.name)))
        yield Row(number, name, functools.partial(_from_member, member.content, images), member.label)


def _from_member(content: bytes | BadImage, images: ImageFormat) -> np.ndarray:
    return _raise(content) if isinstance(content, BadImage) else images.from_picture(content)


def _picture(file: IO[bytes], piece: Piece, images: ImageFormat) -> Iterator[Row]:
    content = tfrecord_framing.read_fully(file, MAX_PICTURE + 1)
    if len(content) > MAX_PICTURE:
        raise ValueError(f"it has more than {MAX_PICTURE:,} bytes")
    yield Row(0, None, lambda: images.from_picture(content))


_READERS: dict[str, Callable[[IO[bytes], Piece, ImageFormat], Iterator[Row]]] = {
    file_names.NPY: _arrays,
    file_names.IDX: _arrays,
    file_names.NPZ: _npz,
    file_names.PARQUET: _tables,
    file_names.CSV: _tables,
    file_names.EXAMPLES: _examples,
    file_names.PICTURE: _picture,
    file_names.ZIP: _archive,
    file_names.TAR: _archive,
}
