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
from serving.images.image_elements import printable_path
from serving.images.input_files import Inputs, find_inputs, list_all
from serving.images.reading import open_file
from serving.images.tfrecord_framing import unzipped
from trainer.task import ImageFiles

TFDS_SCHEME = "tfds:"

_TRAINING_SHARE, _VALIDATION_SHARE = 0.8, 0.9
"""Hashes below the first train, those below the second validate, the rest test."""
_ARCHIVE = re.compile(r"[^/]+\.(zip|tar|tgz|tar\.gz)", re.IGNORECASE)


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
    is_one_file: bool = False
    """Whether all images are in one archive or table, whose own name divides nothing."""

    def split(self, name: str, identity: bytes) -> str:
        """Returns the split of the image of that id in a file of that name. Raises BadImage if it is in none."""
        train, validation, test = self.splits
        share = _share(identity)
        if not self.present:
            return train if share < _TRAINING_SHARE else validation if share < _VALIDATION_SHARE else test
        split = next((split for part in self._places(name) if (split := self._named(part)) is not None), None)
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
        if not self.class_names:
            raise BadImage(f"its class is {label!r}, and the task names none: list all of them in data.class_names")
        if label not in self.class_names:
            raise BadImage(f"its class is {label!r}; expected one of {', '.join(self.class_names)}")
        return self.class_names.index(label)

    def folder(self, name: str) -> str | None:
        """Returns the name of the folder that says an image's class; None if it lies in none."""
        if not self.present:
            folders = _without_archives(_parts(name)[:-1])
            is_below = folders[: len(self.prefix)] == self.prefix
            return _class_name(folders[len(self.prefix) :] if is_below else folders)
        places = self._places(name)[:-1]
        split = next((place for place, part in enumerate(places) if self._named(part) is not None), len(places))
        return _class_name(_without_archives(places[split + 1 :]))

    def _places(self, name: str) -> list[str]:
        """The folders, the archive and the file that may say an image's split."""
        return _parts(name)[self.is_one_file :]

    def _named(self, part: str) -> str | None:
        return next((split for split in self.splits if split in self.present and is_called(part, split)), None)


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
    places: frozenset[tuple[str, ...]]
    """The folders, archives and tables, from the outermost, that may say an image's split."""
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
    is_one_file = all(source.name and not source.is_pattern for source in inputs.sources)
    passed_over: collections.Counter[str] = collections.Counter()
    splits = (data.train, data.validation, data.test)
    places: set[tuple[str, ...]] = set()
    tables: set[tuple[str, ...]] = set()
    for file, reason in list_all(inputs.sources):
        if reason is not None:
            passed_over[reason] += 1
            continue
        files += 1
        are_pictures = are_pictures and _is_picture(file.path)
        name = file.path.removeprefix(inputs.folder)
        digest.update(os.fsencode(name) + f"\0{file.size_in_bytes}\0{file.last_updated_in_seconds}\n".encode())
        for picture in _picture_names(file.path, name):
            if file_names.format_by_name(name) in (file_names.PICTURE, *file_names.ARCHIVES):
                places.add(tuple(_parts(picture)[:-1]))
                pictures += 1
            else:
                tables.add(tuple(_parts(picture)))
    if not files:
        reasons = "".join(f" {count:,} passed over: {reason}." for reason, count in passed_over.items())
        raise ValueError(
            f"data.images is {data.images}, and no file there is an image: expected pictures or tables.{reasons}"
        )
    # Beside pictures a train.csv has labels, and divides nothing.
    dividing = frozenset(place[is_one_file:] for place in places or tables)
    present = {split for place in dividing for part in place for split in splits if is_called(part, split)}
    names = ImageNames(
        splits=splits,
        present=frozenset(present) if data.train in present else frozenset(),
        prefix=_common({_without_archives(place) for place in places}),
        class_names=data.class_names,
        is_one_file=is_one_file,
    )
    if data.has_labels and not data.class_names:
        paths = (posixpath.join(*place, "x") for place in places)
        found = sorted({name for name in map(names.folder, paths) if name is not None})
        names = dataclasses.replace(names, class_names=tuple(found))
    return Survey(
        inputs=inputs,
        names=names,
        files=files,
        pictures=pictures,
        are_pictures=are_pictures,
        places=dividing,
        passed_over=passed_over,
        fingerprint=digest.hexdigest(),
    )


def black_images(images: str) -> str:
    """Returns what is wrong with images that are all black."""
    return (
        f"The images in {images} are black: no pixel is above 1 of 255. Where they hold 0 and 1 for black and white, "
        "set binarisation to given if they are arrays or tables, and save pictures as 0 and 255."
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
                yield posixpath.normpath(posixpath.join(name, member))
    # Whatever a damaged archive raises: its reader says it again, and names it.
    except Exception:
        yield name


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part]


def _class_name(folders: Sequence[str]) -> str | None:
    """The outermost, as a text that every file can hold, also where its bytes are no UTF-8."""
    return printable_path(folders[0]) if folders else None


def _without_archives(parts: Iterable[str]) -> tuple[str, ...]:
    return tuple(part for part in parts if not _ARCHIVE.fullmatch(part))


def is_called(part: str, split: str) -> bool:
    """Returns whether a folder, or a file such as test.zip or train-00000-of-00002.parquet, has the name of a split."""
    return part == split or (
        bool(re.fullmatch(rf"{re.escape(split)}([-_.][\w.-]*)?\.\w+", part)) and not _is_picture(part)
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
