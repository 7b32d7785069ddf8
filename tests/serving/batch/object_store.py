"""A Beam file system as an object store is: no folders, but for objects that mark one, and nothing without options."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem

OBJECTS: dict[str, tuple[bytes, float]] = {}
"""The content of each object and when it was written."""
LISTED: list[str] = []
"""What has been asked for: all objects whose names begin so, which takes as long as there are of them."""


class _Upload(io.BytesIO):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            if not self.getvalue():  # as S3 refuses to end an upload without parts
                raise BeamIOError("MalformedXML when calling the CompleteMultipartUpload operation")
            OBJECTS[self._path] = (self.getvalue(), time.time())
        super().close()


class ObjectStore(FileSystem):
    """Objects at teststore://."""

    def __init__(self, pipeline_options: Any) -> None:
        if pipeline_options is None:
            raise ValueError("pipeline_options is not set")  # as Beam's S3FileSystem does
        super().__init__(pipeline_options)

    @classmethod
    def scheme(cls) -> str:
        return "teststore"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        del path

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        self._check(f"{dir_or_prefix}x")
        LISTED.append(dir_or_prefix)
        for path, (content, written) in sorted(OBJECTS.items()):
            if path.startswith(dir_or_prefix):
                yield FileMetadata(path, len(content), written)

    def _check(self, path: str) -> None:
        if not re.match("teststore://[^/]+/.", path):  # as S3's, by parse_s3_path
            raise ValueError("The path must be in the form teststore://<bucket>/<object>.")

    def create(self, path: str, mime_type: str = "", compression_type: str = "") -> _Upload:
        return _Upload(path)

    def open(self, path: str, mime_type: str = "", compression_type: str = "") -> io.BytesIO:
        if path not in OBJECTS:
            raise FileNotFoundError(path)
        return io.BytesIO(OBJECTS[path][0])

    def copy(self, source_file_names: Sequence[str], destination_file_names: Sequence[str]) -> None:
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            OBJECTS[destination] = OBJECTS[source]

    def rename(self, source_file_names: Sequence[str], destination_file_names: Sequence[str]) -> None:
        self.copy(source_file_names, destination_file_names)
        self.delete(source_file_names)

    def exists(self, path: str) -> bool:
        self._check(path)
        return path in OBJECTS

    def size(self, path: str) -> int:
        return len(OBJECTS[path][0])

    def last_updated(self, path: str) -> float:
        return OBJECTS[path][1]

    def checksum(self, path: str) -> str:
        return str(hash(OBJECTS[path][0]))

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, *(len(OBJECTS[path][0]), OBJECTS[path][1]))

    def delete(self, paths: Sequence[str]) -> None:
        missing = [path for path in paths if path not in OBJECTS]
        if missing:
            raise BeamIOError("Delete operation failed", dict.fromkeys(missing))
        for path in paths:
            del OBJECTS[path]
