"""The framing of TFRecord files, read so that nothing of a damaged file is lost unseen.

A record is its length (8 bytes), the length's checksum (4), the bytes, and their checksum (4): masked CRC-32C.
"""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Iterator
from typing import IO

import google_crc32c

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_MAX_RECORD = 2**30
"""Bytes of the longest record; a message of protocol buffers has at most twice as many."""
_PART = 2**24
_BUFFER = 2**20


def begins_with_record(content: bytes) -> bool:
    """Whether the first 12 bytes are the header of a record."""
    if len(content) < _HEADER.size:
        return False
    _, checksum = _HEADER.unpack_from(content)
    return _masked_crc(content[:8]) == checksum


def is_gzipped(content: bytes) -> bool:
    """Whether a file begins as gzip does; a record of 559,903 bytes does so too."""
    return content[:3] == b"\x1f\x8b\x08" and not begins_with_record(content)


def unzipped(file: IO[bytes]) -> IO[bytes]:
    """Returns the content of a file at its beginning, decompressed if it is gzipped, whatever its name is."""
    head = file.read(_HEADER.size)
    file.seek(0)
    if not is_gzipped(head):
        return file
    return io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER)  # type: ignore[return-value]


def read_framed(file: IO[bytes]) -> Iterator[bytes | None]:
    """Yields the records of an uncompressed stream; None for one whose bytes do not fit its checksum.

    Raises:
      ValueError: where the records cannot be told apart any more; what follows is lost.
      Exception: whatever reading raises.
    """
    while header := file.read(_HEADER.size):
        if not begins_with_record(header):
            raise ValueError(
                "the file ends within a record's length"
                if len(header) < _HEADER.size
                else "the length of a record does not fit its checksum"
            )
        length, _ = _HEADER.unpack(header)
        if length > _MAX_RECORD:
            raise ValueError(f"a record has {length:,} bytes; expected at most {_MAX_RECORD:,}")
        content = read_fully(file, length + _CHECKSUM.size)
        if len(content) < length + _CHECKSUM.size:
            raise ValueError(f"the file ends within a record: {len(content):,} of {length + _CHECKSUM.size:,} bytes")
        record = content[: -_CHECKSUM.size]
        yield record if _masked_crc(record) == _CHECKSUM.unpack_from(content, length)[0] else None


def read_fully(file: IO[bytes], size: int) -> bytes:
    """Reads `size` bytes, or fewer at the end of the file, and takes memory for those alone that there are."""
    content = file.read(min(size, _PART))
    if len(content) == size or not content:
        return content
    parts, read = [content], len(content)
    while read < size and (part := file.read(min(size - read, _PART))):
        parts.append(part)
        read += len(part)
    return b"".join(parts)


def _masked_crc(content: bytes) -> int:
    crc: int = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
