"""Arrays of images in files: .npy, .npz and IDX, the format of MNIST. Headers are checked before rows are read."""

from __future__ import annotations

import io
import itertools
import math
import struct
import zipfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from serving.images.tfrecord_framing import read_fully

IMAGE_NAMES = ("image", "images")
ID_NAMES = ("id", "ids")
LABEL_NAMES = ("label", "labels", "y")

Label = int | str | bytes
"""A class's number, or its name."""

_BYTES_AT_ONCE = 2**20
_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MAX_ID_BYTES = 2**16
_ZIP_END_BYTES = 22 + 2**16
"""The last part of a ZIP file, with the longest comment."""


def label_text(name: str | bytes) -> str:
    """Returns a class's name as text, whatever its bytes are."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def as_label(value: Any) -> Label | None:
    """Returns a class's number or name; None for what is neither, such as the NaN that pandas has for a missing one."""
    if isinstance(value, float):  # which pandas makes of whole numbers where one is missing
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int | str | bytes) else None


class ArrayHeader(NamedTuple):
    """What an array's header claims."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def read_npy_header(file: IO[bytes]) -> ArrayHeader:
    """Reads the header of the .npy array that follows. Raises ValueError, and whatever else NumPy raises."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its .npy format is {version}; expected 1.0 or 2.0, as NumPy writes arrays of numbers")
    shape, is_fortran, dtype = readers[version](file)
    if any(size < 0 for size in shape):
        raise ValueError(f"its header claims the shape {list(shape)}")
    if is_fortran and len(shape) > 1:
        raise ValueError("its array is in Fortran's order; save numpy.ascontiguousarray of it")
    if dtype.hasobject:
        raise ValueError("its array holds Python objects; expected numbers")
    return ArrayHeader(shape, dtype)


def is_idx(content: bytes) -> bool:
    """Whether bytes begin as an IDX file does."""
    return len(content) >= 4 and content[:2] == b"\0\0" and content[2] in _IDX_TYPES and content[3] > 0


def read_idx_header(file: IO[bytes]) -> ArrayHeader:
    """Reads an IDX file's header. Raises ValueError."""
    magic = read_fully(file, 4)
    if not is_idx(magic):
        raise ValueError(f"it begins with {magic.hex(' ') or 'nothing'}, as no IDX file does")
    sizes = read_fully(file, 4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError("it ends within its header")
    return ArrayHeader(struct.unpack(f">{magic[3]}I", sizes), np.dtype(_IDX_TYPES[magic[2]]))


def read_rows(file: IO[bytes], header: ArrayHeader, count: int) -> Iterator[np.ndarray]:
    """Yields the next `count` rows with only some of them in memory. Raises EOFError where the file ends early."""
    remaining = count
    together = max(1, _BYTES_AT_ONCE // header.row_bytes)
    while remaining:
        raw = read_fully(file, min(remaining, together) * header.row_bytes)
        sound = len(raw) // header.row_bytes
        if not sound:
            raise EOFError("the file ends before its array does")
        yield from np.frombuffer(raw, header.dtype, sound * header.row_bytes // header.dtype.itemsize).reshape(
            sound, *header.shape[1:]
        )
        remaining -= sound


def check_directory(file: IO[bytes], archive: zipfile.ZipFile) -> None:
    """Raises ValueError where a ZIP archive may have more files than its directory names, which zipfile passes over.

    Two archives may be joined, or an entry's damaged length have swallowed those behind it.
    """
    entries = archive.infolist()
    if first := min((entry.header_offset for entry in entries), default=0):
        raise ValueError(f"{first:,} bytes stand before its first file: another archive's?")
    file.seek(max(0, file.seek(0, io.SEEK_END) - _ZIP_END_BYTES))
    end = read_fully(file, _ZIP_END_BYTES)
    (count,) = struct.unpack_from("<H", end, end.rindex(b"PK\5\6") + 10)
    # Above 65,534 files it is elsewhere, or less by 65,536.
    if count != 0xFFFF and (len(entries) - count) % 2**16:
        raise ValueError(f"its directory names {len(entries):,} files, and its end {count:,}")


def array_names(archive: zipfile.ZipFile) -> list[str]:
    """Returns the names of an .npz file's arrays."""
    return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def image_arrays(names: list[str]) -> list[str]:
    """Returns which arrays hold the images: `image`, or the only one, or those of Keras, `x_train` and `x_test`.

    Raises ValueError if that is not clear.
    """
    for chosen in (
        [name for name in names if name in IMAGE_NAMES],
        [name for name in names if name not in (*ID_NAMES, *LABEL_NAMES)],
    ):
        if len(chosen) == 1:
            return chosen
    if several := [name for name in names if name.startswith("x_") or name.endswith("_images")]:
        return several
    raise ValueError(f"it holds the arrays {names}; expected one, or one with the name {IMAGE_NAMES[0]!r}")


def read_to_end(file: IO[bytes]) -> None:
    """Reads a compressed file to its end, where its checksum is. Raises what reading raises."""
    while file.read(_BYTES_AT_ONCE):
        pass


def label_array(names: list[str], images: str) -> str | None:
    """Returns which array holds the labels of the array of images, as `y_train` does for `x_train`; None if none."""
    beside = "y_" + images.removeprefix("x_") if images.startswith("x_") else images.replace("_images", "_labels")
    return next((name for name in (beside, *LABEL_NAMES) if name in names and name != images), None)


def read_labels(archive: zipfile.ZipFile, name: str, rows: int) -> Iterator[Label | None]:
    """Yields an .npz file's labels, one a row; None for what is no label, for most readers want images alone."""
    try:
        for value in _column(archive, name, rows):
            yield as_label(value)
    except Exception:  # a damaged archive raises almost anything
        yield from itertools.repeat(None)


def read_ids(archive: zipfile.ZipFile, name: str, rows: int) -> Iterator[bytes]:
    """Yields an .npz file's ids, one a row. Raises ValueError if they are not so many, or no ids."""
    for value in _column(archive, name, rows):
        yield value if isinstance(value, bytes) else str(value).encode()


def _column(archive: zipfile.ZipFile, name: str, rows: int) -> Iterator[Any]:
    with archive.open(f"{name}.npy") as member:
        header = read_npy_header(member)
        # Keras has its labels in a column.
        if header.shape not in ((rows,), (rows, 1)):
            raise ValueError(f"its array {name!r} has the shape {list(header.shape)}; expected [{rows}], an id a row")
        if header.dtype.kind not in "fiuSU" or not 0 < header.dtype.itemsize <= _MAX_ID_BYTES:
            raise ValueError(f"its ids are {header.dtype}; expected strings or numbers")
        for value in read_rows(member, header, rows):
            yield value.item()
