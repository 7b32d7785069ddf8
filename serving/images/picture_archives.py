"""Archives of pictures: ZIP and TAR, a folder's or WebDataset's, read one member after the other."""

from __future__ import annotations

import posixpath
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from serving.images.array_files import Label
from serving.images.file_names import PICTURE, ZIP, format_by_name, no_data
from serving.images.tfrecord_framing import read_fully

MAX_PICTURE = 2**30
"""Bytes of the largest file of a picture."""
_LABEL_SUFFIX = ".cls"


class Member(NamedTuple):
    """A picture of an archive."""

    name: str
    content: bytes
    label: Label | None
    """What WebDataset has in a file .cls beside it."""


def member_names(file: IO[bytes], archive_format: str) -> Iterator[str]:
    """Yields the names of the pictures, and reads no picture."""
    yield from (name for name, _ in _members(file, archive_format) if _is_picture(name))


def read_members(file: IO[bytes], archive_format: str) -> Iterator[Member]:
    """Yields the pictures. Raises ValueError for one that is too large, and what reading a damaged archive raises."""
    waiting: list[Member] = []
    label: Label | None = None
    before = ""
    for name, read in _members(file, archive_format):
        # WebDataset: what belongs together has one name up to the first dot, and stands together.
        key = posixpath.join(posixpath.dirname(name), posixpath.basename(name).partition(".")[0])
        if key != before:
            yield from (member._replace(label=label) for member in waiting)
            waiting, label, before = [], None, key
        if name.endswith(_LABEL_SUFFIX):
            text = read().decode(errors="replace").strip()
            label = int(text) if text.isdecimal() else text
        elif _is_picture(name):
            waiting.append(Member(name, read(), None))
    yield from (member._replace(label=label) for member in waiting)


def _is_picture(name: str) -> bool:
    return format_by_name(name) == PICTURE and no_data(name) is None


def _members(file: IO[bytes], archive_format: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yields name and reader of each regular file."""
    if archive_format == ZIP:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, lambda info=info: _read(archive.open(info), info.file_size)  # type: ignore[misc]
        return
    with tarfile.open(fileobj=file, mode="r|") as tape:
        for entry in tape:
            member = tape.extractfile(entry) if entry.isreg() else None
            if member is not None:
                yield entry.name, lambda member=member, entry=entry: _read(member, entry.size)  # type: ignore[misc]


def _read(member: IO[bytes], size: int) -> bytes:
    if size > MAX_PICTURE:
        raise ValueError(f"a picture in it claims {size:,} bytes; expected at most {MAX_PICTURE:,}")
    with member:
        return read_fully(member, size)
