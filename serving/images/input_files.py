"""The files that a job's input names: folders, single files and patterns, on this machine or in a bucket."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import apache_beam as beam
from apache_beam.io.filesystem import FileMetadata
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem
from apache_beam.pvalue import TaggedOutput

from serving.file_systems import as_pattern
from serving.images.file_names import no_data
from serving.images.image_elements import PassedOver, PassedOverFiles, printable_path

PASSED_OVER = "passed_over"
NAMED = 10
"""The most files passed over that are named; all are counted."""
LINK_TO_FOLDER = "it is a link to a folder"
"""Why such a link is passed over: a circle of links has no end."""
NO_FILE = "it is no regular file"
"""Why a link to nothing is passed over, or a pipe."""
_WILDCARD = re.compile(r"[*?\[]")


class Source(NamedTuple):
    """One name of the input, made absolute."""

    folder: str
    """The folder that surely exists: what it has of `[` and `*` in its name stands for itself."""
    name: str
    """A file in it, a pattern of files, or "" for all files below it."""
    is_pattern: bool


def _is_nobodys(path: str) -> bool:
    return False


class Inputs(NamedTuple):
    """What a job reads."""

    sources: tuple[Source, ...]
    folder: str
    """The folder of all sources, with its slash: an image without an id is called by its path below it."""
    is_ours: Callable[[str], bool] = _is_nobodys
    """Whether a path is that of a file that the job itself writes, which is no input."""


def find_inputs(names: Sequence[str]) -> Inputs:
    """Finds what a user named: files, folders with all that is below them, and patterns of files.

    A name that exists is that file or folder, whatever is in it of `[`, `*` and `?`. Anything else is a pattern below
    the folder that its beginning names.

    Raises:
      ValueError: if there are no names, or no file has one of them.
    """
    if not names:
        raise ValueError("There is no input: name a folder, a file, or a pattern of files.")
    sources: dict[Source, None] = {}  # a set that keeps the order
    for name in names:
        source = _remote_source(name) if "://" in name else _local_source(name)
        if next(_files(source), None) is None:
            raise ValueError(f"There is no input: no file matches {name!r}.")
        sources[source] = None
    # By characters and then cut at a slash: `commonpath` would take one of the slashes of s3://.
    common = os.path.commonprefix([posixpath.join(source.folder, "") for source in sources])  # noqa: RUF071
    return Inputs(tuple(sources), common[: common.rfind("/") + 1])


class MatchInputs(beam.PTransform):
    """Gives two collections: `files`, each once, as FileMetadata, and PASSED_OVER, of one PassedOverFiles."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self._inputs = inputs

    def expand(self, root: beam.pvalue.PBegin) -> dict[str, beam.PCollection]:
        """Lists all sources in one worker, which sees the files as those that read them."""
        matched = (
            root
            | "Sources" >> beam.Create([self._inputs.sources])
            | "List" >> beam.ParDo(_List(self._inputs.is_ours)).with_outputs()
        )
        return {"files": matched[None], PASSED_OVER: matched[PASSED_OVER]}


def passed_over(path: str) -> str | None:
    """Returns why a file is not read that stands in a folder or matches a pattern; None if it is.

    Args:
      path: its path below the folder that was named.
    """
    if not path or path.endswith("/"):
        return "it marks a folder"
    return no_data(path)


def list_files(inputs: Inputs) -> Iterator[FileMetadata]:
    """Lists what a job reads, in this process: the same files as MatchInputs'."""
    yield from (file for file, reason in list_all(inputs.sources) if reason is None)


def list_all(sources: Sequence[Source]) -> Iterator[tuple[FileMetadata, str | None]]:
    """Lists the files of the sources, each once, with why it is passed over; None for one that is read."""
    seen: set[str] = set()
    for source in sources:
        for file, reason in _listed(source):
            if file.path in seen:
                continue
            if len(sources) > 1:  # those of one are different, and may be millions
                seen.add(file.path)
            yield file, reason


class _List(beam.DoFn):
    def __init__(self, is_ours: Callable[[str], bool]) -> None:
        self._is_ours = is_ours

    def process(self, sources: tuple[Source, ...]) -> Iterator[FileMetadata | TaggedOutput]:
        files = 0
        first: list[PassedOver] = []
        for file, reason in list_all(sources):
            if self._is_ours(file.path):
                reason = "it is an output of this job"
            if reason is None:
                yield file
            else:
                files += 1
                first = sorted([*first, PassedOver(printable_path(file.path), reason)])[:NAMED]
        yield TaggedOutput(PASSED_OVER, PassedOverFiles(files, tuple(first)))


def _listed(source: Source) -> Iterator[tuple[FileMetadata, str | None]]:
    """Lists the files of a source, each with why it is passed over, or None."""
    is_one_file = bool(source.name) and not source.is_pattern
    for file in _files(source):
        reason = None if is_one_file else passed_over(file.path.removeprefix(posixpath.join(source.folder, "")))
        if reason is None and "://" not in file.path and not os.path.isfile(file.path):
            reason = LINK_TO_FOLDER if os.path.isdir(file.path) else NO_FILE
        yield file, reason


def _local_source(name: str) -> Source:
    path = os.path.abspath(name)
    if os.path.isdir(path):
        return Source(path, "", False)
    folder, rest = os.path.split(path)
    if os.path.exists(path):
        return Source(folder, rest, False)
    while not os.path.isdir(folder):
        folder, last = os.path.split(folder)
        rest = posixpath.join(last, rest)
    return Source(folder, rest, True)


def _remote_source(name: str) -> Source:
    end = name.rfind("/") + 1
    # A whole bucket may be named without a slash.
    if name.count("/") > 2 and name[end:] and FileSystems.exists(name):
        return Source(name[:end], name[end:], False)
    folder = Source(posixpath.join(name, ""), "", False)
    wildcard = _WILDCARD.search(name)
    if wildcard is None:
        return folder
    end = name.rfind("/", 0, wildcard.start()) + 1
    pattern = Source(name[:end], name[end:], True)
    # Each look lists what may be millions: first what is likely.
    likely, other = (folder, pattern) if name.endswith("/") else (pattern, folder)
    return likely if next(_files(likely), None) else other


def _files(source: Source) -> Iterator[FileMetadata]:
    """Lists the files of a source, also what is to be passed over. Raises OSError where a folder cannot be."""
    if "://" in source.folder:
        name = source.name if source.is_pattern else as_pattern(source.name)
        for file in FileSystems.match([as_pattern(source.folder) + (name or "**")])[0].metadata_list:
            is_named = source.is_pattern or not source.name or file.path == source.folder + source.name
            if is_named and file.path.startswith(source.folder):
                yield file
    elif source.name and not source.is_pattern:
        yield _metadata(posixpath.join(source.folder, source.name))
    else:
        # Not by Beam, which takes a `[` in the folder's name for a wildcard, and lists what is beside the folder too.
        matches = re.compile(LocalFileSystem.translate_pattern(source.name or "**")).match
        below = len(posixpath.join(source.folder, ""))
        for place, folders, names in os.walk(source.folder, onerror=_raise):
            folders.sort()
            links = [name for name in folders if os.path.islink(posixpath.join(place, name))]
            for name in sorted([*names, *links]):
                path = posixpath.join(place, name)
                if matches(path[below:]):
                    yield _metadata(path)


def _raise(error: OSError) -> None:
    raise error


def _metadata(path: str) -> FileMetadata:
    try:
        status = os.stat(path)
    except FileNotFoundError:  # a link to nothing
        return FileMetadata(path, 0, 0.0)
    return FileMetadata(path, status.st_size, status.st_mtime)
