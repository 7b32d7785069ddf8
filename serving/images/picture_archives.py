"""Archives of pictures: ZIP and TAR, a folder's or WebDataset's, read one member after the other."""

from __future__ import annotations

import functools
import posixpath
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from serving.images.array_files import Label, check_directory
from serving.images.bad_image import BadImage
from serving.images.file_names import PICTURE, ZIP, format_by_name, no_data
from serving.images.picture_decoder import SUFFIXES
from serving.images.tfrecord_framing import read_fully

MAX_PICTURE = 2**30
"""Bytes of the largest file of a picture."""
_LABEL_SUFFIX = ".cls"
_NO_PICTURE = f"its name is that of no picture, which alone are read of an archive; expected {', '.join(SUFFIXES)}"


class Member(NamedTuple):
    """A picture of an archive, or what may be one."""

    name: str
    content: bytes | BadImage
    """Its bytes, or why they cannot be had."""
    label: Label | None
    """What WebDataset has in a file .cls beside it."""


def member_names(file: IO[bytes], archive_format: str) -> Iterator[str]:
    """Yields the names of the pictures, and reads no picture."""
    yield from (name for name, _ in _members(file, archive_format) if _is_picture(name))


def read_members(file: IO[bytes], archive_format: str) -> Iterator[Member]:
    """Yields the pictures, and what else is neither a text by its name nor beside a picture.

    Raises ValueError for an archive that does not end as one does, and what reading a damaged one raises.
    """
    pictures: list[Member] = []
    others: list[Member] = []
    label: Label | None = None
    before = ""
    damage: Exception | None = None
    try:
        for name, read in _members(file, archive_format):
            # WebDataset: what belongs together has one name up to the first dot, and stands together.
            key = posixpath.join(posixpath.dirname(name), posixpath.basename(name).partition(".")[0])
            if key != before:
                yield from (member._replace(label=label) for member in pictures or others)
                pictures, others, label, before = [], [], None, key
            if name.endswith(_LABEL_SUFFIX):
                label = _label(read())
            elif _is_picture(name):
                pictures.append(Member(name, read(), None))
            elif no_data(name) is None:
                others.append(Member(name, BadImage(_NO_PICTURE), None))
    except Exception as error:
        damage = error  # what comes before it is sound
    yield from (member._replace(label=label) for member in pictures or others)
    if damage is not None:
        raise damage


def _is_picture(name: str) -> bool:
    return format_by_name(name) == PICTURE and no_data(name) is None


def _label(content: bytes | BadImage) -> Label | None:
    if isinstance(content, BadImage):
        return None
    text = content.decode(errors="replace").strip()
    return int(text) if text.isdecimal() else text


def _members(file: IO[bytes], archive_format: str) -> Iterator[tuple[str, Callable[[], bytes | BadImage]]]:
    """Yields name and reader of each file; `tar -c .` writes ./ before each name, which is no part of it."""
    if archive_format == ZIP:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield _name(info.filename), functools.partial(_read_zipped, archive, info)
            check_directory(file, archive)
        return
    with tarfile.open(fileobj=file, mode="r|") as tape:
        for entry in tape:
            name = _name(entry.name)
            member = tape.extractfile(entry) if entry.isreg() else None
            if member is not None:
                yield name, functools.partial(_read, member, entry.size)
            elif (entry.islnk() or entry.issym()) and _is_picture(name):
                yield name, lambda entry=entry: BadImage(f"it is a link to {entry.linkname}")  # type: ignore[misc]
        _check_end(file, tape.offset)


def _name(path: str) -> str:
    return posixpath.normpath(path).lstrip("/")


def _read_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | BadImage:
    try:
        return _read(archive.open(info), info.file_size)
    except Exception as error:  # whatever it is, the other members have their own places and checksums
        return BadImage(f"it cannot be read: {str(error) or type(error).__name__}")


def _read(member: IO[bytes], size: int) -> bytes | BadImage:
    with member:
        if size > MAX_PICTURE:
            return BadImage(f"it has {size:,} bytes; expected at most {MAX_PICTURE:,}")
        return read_fully(member, size)


def _check_end(file: IO[bytes], offset: int) -> None:
    """Raises ValueError where a TAR archive ends without its mark or is followed by more: tarfile takes any end."""
    file.seek(offset)
    mark = read_fully(file, tarfile.BLOCKSIZE)
    if len(mark) < tarfile.BLOCKSIZE:
        raise ValueError("the archive ends without its mark, a block of zeros")
    while mark:
        if mark.strip(b"\0"):
            raise ValueError("what follows is neither a file's header nor the archive's end")
        mark = file.read(2**20)
