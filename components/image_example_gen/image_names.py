"""What an image's name says: its split and its class. The same name always says the same."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from serving.file_systems import connect
from serving.images import file_names, picture_archives
from serving.images.array_files import Label, label_text
from serving.images.bad_image import BadImage
from serving.images.input_files import Inputs, find_inputs, list_all
from serving.images.reading import open_file
from serving.images.tfrecord_framing import unzipped
from trainer.task import ImageFiles

TFDS_SCHEME = "tfds:"

_TRAINING_SHARE, _VALIDATION_SHARE = 0.8, 0.9
"""Hashes below the first train, those below the second validate, the rest test."""
_ARCHIVE = re.compile(r"[^/]+\.(zip|tar|tgz|tar\.gz)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageNames:
    """How the names of one source are read."""

    splits: tuple[str, str, str]
    """Names of the splits that train, validate and test."""
    present: frozenset[str]
    """Those splits that have a folder, or a file that is called like them; empty where a hash decides."""
    prefix: tuple[str, ...]
    """Folders that all images are below."""
    class_names: tuple[str, ...]
    """Names of the labels, in order; empty where labels are numbers in files."""

    def split(self, name: str, identity: bytes) -> str:
        """Returns the split of the image of that id in a file of that name. Raises BadImage if it is in none."""
        train, validation, test = self.splits
        share = _share(identity)
        if not self.present:
            return train if share < _TRAINING_SHARE else validation if share < _VALIDATION_SHARE else test
        split = next((split for part in _parts(name) if (split := self._named(part)) is not None), None)
        if split is None:
            raise BadImage(
                f"it is in none of the folders {', '.join(dict.fromkeys(self.splits))}, and there is one of that name "
                f"({', '.join(sorted(self.present))}); data.train, data.validation and data.test name the folders, and "
                "where one of these is a class, something that there is not"
            )
        if split == train:
            # What has no images of its own gets a tenth of these.
            if validation not in self.present and _TRAINING_SHARE <= share < _VALIDATION_SHARE:
                return validation
            if test not in self.present and share >= _VALIDATION_SHARE:
                return test
        return split

    def label(self, name: str, label: Label | None) -> int:
        """Returns the number of an image's class, by what its file says or by its folder. Raises BadImage."""
        if isinstance(label, int):
            return label
        if label is None:
            label = self.folder(name)
        if label is None:
            raise BadImage("it has no class: it lies in no folder of a class, and its file has no label")
        label = label_text(label)
        if label not in self.class_names:
            raise BadImage(f"its class is {label!r}; expected one of {', '.join(self.class_names) or 'the numbers'}")
        return self.class_names.index(label)

    def folder(self, name: str) -> str | None:
        """Returns the name of the folder that says an image's class; None if it lies in none."""
        folders = _folders(name)
        if self.present:
            places = [place for place, part in enumerate(folders) if self._named(part) is not None]
            folders = folders[places[0] + 1 :] if places else []
        elif tuple(folders[: len(self.prefix)]) == self.prefix:
            folders = folders[len(self.prefix) :]
        return folders[0] if folders else None

    def _named(self, part: str) -> str | None:
        return next((split for split in self.splits if split in self.present and _is_called(part, split)), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """What a first look at a source says, at its names alone."""

    inputs: Inputs
    names: ImageNames
    files: int
    pictures: int
    """Those of the files that are pictures by their names, and the pictures in archives."""
    are_pictures: bool
    """Whether each file is a picture, by their names."""
    passed_over: Mapping[str, int]
    """How many files are not read, by the reason."""
    fingerprint: str
    """Tells the files, with their sizes and times, from others."""


def survey(data: ImageFiles) -> Survey:
    """Looks at the names of all images.

    Raises:
      ValueError: if there are none, or the classes cannot be told.
      OSError: if they are at an address whose store does not answer.
    """
    connect([data.images])
    try:
        inputs = find_inputs([data.images])
    except ValueError as error:
        raise ValueError(f"data.images is {data.images}, and no file is there: {error}") from error
    digest, files, pictures, are_pictures = hashlib.sha256(), 0, 0, True
    passed_over: collections.Counter[str] = collections.Counter()
    splits = (data.train, data.validation, data.test)
    present: set[str] = set()
    folders: set[tuple[str, ...]] = set()
    for file, reason in list_all(inputs):
        if reason is not None:
            passed_over[reason] += 1
            continue
        files += 1
        are_pictures = are_pictures and _is_picture(file.path)
        name = file.path.removeprefix(inputs.folder)
        digest.update(os.fsencode(name) + f"\0{file.size_in_bytes}\0{file.last_updated_in_seconds}\n".encode())
        for picture in _picture_names(file.path, name):
            present.update(split for part in _parts(picture) for split in splits if _is_called(part, split))
            if file_names.format_by_name(name) in (file_names.PICTURE, *file_names.ARCHIVES):
                folders.add(tuple(_folders(picture)))
                pictures += 1
    if not files:
        reasons = "".join(f" {count:,} passed over: {reason}." for reason, count in passed_over.items())
        raise ValueError(
            f"data.images is {data.images}, and no file there is an image: expected pictures or tables.{reasons}"
        )
    names = ImageNames(
        splits=splits,
        present=frozenset(present) if data.train in present else frozenset(),
        prefix=_common(folders),
        class_names=data.class_names,
    )
    if data.has_labels and not data.class_names:
        paths = (posixpath.join(*folder, "x") for folder in folders)
        found = sorted({name for name in map(names.folder, paths) if name is not None})
        names = dataclasses.replace(names, class_names=tuple(found))
    return Survey(
        inputs=inputs,
        names=names,
        files=files,
        pictures=pictures,
        are_pictures=are_pictures,
        passed_over=passed_over,
        fingerprint=digest.hexdigest(),
    )


def _picture_names(path: str, name: str) -> Iterator[str]:
    """Yields the names of the pictures in an archive, or that of the file."""
    archive_format = file_names.format_by_name(name)
    if archive_format not in file_names.ARCHIVES:
        yield name
        return
    try:
        with open_file(path) as file, unzipped(file) as content:
            for member in picture_archives.member_names(content, archive_format):
                yield posixpath.normpath(posixpath.join(posixpath.basename(path), member))
    # Whatever a damaged archive raises: its reader says it again, and names it.
    except Exception:
        yield name


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part]


def _folders(name: str) -> list[str]:
    """The folders that an image lies in, without the archive that they are in."""
    folders = _parts(name)[:-1]
    return folders[1:] if folders and _ARCHIVE.fullmatch(folders[0]) else folders


def _is_called(part: str, split: str) -> bool:
    """Whether a folder, or a file such as train-00000-of-00002.parquet, has the name of a split."""
    return part == split or (
        bool(re.fullmatch(rf"{re.escape(split)}[-_.][\w.-]*\.\w+", part)) and not _is_picture(part)
    )


def _is_picture(part: str) -> bool:
    return file_names.format_by_name(part) == file_names.PICTURE


def _common(folders: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The folders that all of these begin with, but so that each has one more."""
    paths = list(folders)
    if not paths:
        return ()
    shortest = min(map(len, paths))
    common = 0
    while common < shortest - 1 and len({path[common] for path in paths}) == 1:
        common += 1
    return tuple(paths[0][:common])


def _share(identity: bytes) -> float:
    """Maps an id to [0, 1), evenly."""
    return int.from_bytes(hashlib.sha256(identity).digest()[:8], "big") / 2**64
