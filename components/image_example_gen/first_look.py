"""A first look at somebody's images, before there is a task: how many, how large, grey or colour, which classes."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import math
import os
import statistics
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from components.image_example_gen.image_names import TFDS_SCHEME, Survey, is_called, survey
from components.image_example_gen.prepared_dataset import open_dataset
from serving.cores import cores
from serving.images.array_files import Label, label_text
from serving.images.bad_image import BadImage
from serving.images.file_names import ARCHIVES, CSV, PARQUET, PICTURE, format_by_name
from serving.images.file_reader import Lost, Piece, Row, pieces, rows
from serving.images.image_elements import printable_path
from serving.images.image_format import ImageFormat
from serving.images.image_tables import parquet_class_names
from serving.images.input_files import list_files
from serving.images.picture_decoder import decode_picture, is_picture, picture_size
from serving.images.preparation import Preparation
from serving.images.reading import open_file
from trainer.task import ImageFiles

LIMIT = 2_000
"""The most images that are looked at."""
_ROWS_A_FILE = 200
"""The most of a file of several."""
_SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
"""What people call them, in any case."""
_WHITE = (255, 255, 255)
_ENOUGH = (256, 256)
"""Rows and columns of which more show nothing that is looked for."""
_COLOURFUL = 12
"""Difference of two channels, of 255, from which on a pixel has a colour."""
_SMALLEST_SIDE = 8
_MOST = 0.5
"""Fraction from which on they are most."""
_EDGES = 16
"""A pixel nearer than this to black or white is one of the two."""


class Sight(NamedTuple):
    """What one image looks like."""

    rows: int
    columns: int
    is_colour: bool
    extreme: float
    """Fraction of its pixels that are nearly black or white."""
    border: float
    """Mean brightness of its border, 0 to 255."""
    brightest: int = 255
    """Its greatest intensity, as far as was seen."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """What is known of somebody's images."""

    images: int
    """How many there are, as far as was seen."""
    sights: tuple[Sight, ...]
    unreadable: tuple[tuple[str, str], ...]
    """File and reason."""
    class_names: tuple[str, ...]
    """Of the folders, or of the labels that are texts."""
    class_counts: tuple[int, ...]
    """Images of each; empty where that is not known."""
    greatest_label: int | None
    """Of labels that are numbers; None where there are none."""
    split_names: tuple[str, str, str]
    """Of the splits that train, validate and test."""
    splits: tuple[str, ...]
    """Those of them that divide the images, in that order; empty if none do."""
    are_tables: bool = False
    """Whether they are the arrays and cells of tables, and no files of pictures."""
    empty_splits: tuple[str, ...] = ()
    """Those of them that no image would be in, where that is known."""
    untrained_classes: tuple[str, ...] = ()
    """Those of the classes that no image to learn from would have, where that is known."""
    unlabelled: float = 0.0
    """Fraction of the images that have no class, where others have one."""
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """How many files are not read, by the reason."""

    @property
    def classes(self) -> int:
        """How many there are, as far as was seen."""
        return len(self.class_names) or (0 if self.greatest_label is None else self.greatest_label + 1)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Rows and columns of each."""
        return [(sight.rows, sight.columns) for sight in self.sights]


class _Looking(ImageFormat):
    """Notes what an image is before it is prepared."""

    def __init__(self) -> None:
        super().__init__(shape=(1, 1, 3), binary=False, background=_WHITE, preparation=Preparation(resize="stretch"))
        object.__setattr__(self, "seen", [])

    def from_cell(self, content: bytes) -> np.ndarray:
        # The other way prepares the pixels of a picture once more, and so would note it twice.
        return self.from_picture(content) if is_picture(content) else super().from_cell(content)

    def _decoded(self, content: bytes) -> np.ndarray:
        pixels = decode_picture(content, 3, background=_WHITE, at_least=_ENOUGH)
        return self._noted(_sight(pixels, picture_size(content)))

    def _prepared(self, pixels: np.ndarray) -> np.ndarray:
        return self._noted(_sight(pixels, pixels.shape[:2]))

    def _expected(self, describe: Callable[[tuple[int, ...]], object]) -> str:
        return "the file of a picture, for bare pixels do not say how many are in a row"

    def _noted(self, sight: Sight) -> np.ndarray:
        self.seen.append(sight)  # type: ignore[attr-defined]
        return np.zeros(self.shape, np.uint8)


class _LookingAtRows(_Looking):
    """Takes the pixels of a row of a table for those of a square, as MNIST's are."""

    def whole_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        side = math.isqrt(shape[0]) if len(shape) == 1 else 0
        return (side, side, 1) if side >= _SMALLEST_SIDE and side * side == shape[0] else super().whole_shape(shape)


class _FileLook(NamedTuple):
    """What one file shows."""

    sights: list[Sight]
    faults: list[str]
    labels: list[Label | None]
    """Of each image that could be read."""
    class_names: tuple[str, ...]
    """Of its labels, where it says them."""
    rows: int
    """Images in it, or of them those that were looked at, where it does not say."""


def look(images: str, *, data_dir: str | None = None, limit: int = LIMIT) -> Look:
    """Looks at some of the images, the same ones each time.

    Args:
      images: as `data.images` of a task.
      data_dir: TFDS's directory; None for TFDS's own default.
      limit: the most that are looked at.

    Raises:
      ValueError: if there are none.
      RuntimeError: if a data set of TFDS cannot be had.
    """
    if images.startswith(TFDS_SCHEME):
        return _look_at_tfds(images.removeprefix(TFDS_SCHEME), data_dir, limit)
    data = ImageFiles(images=images, has_labels=True)
    found = survey(data)
    if (renamed := _with_split_names(data, found.places)) != data:
        data, found = renamed, survey(renamed)
    files = sorted((file.path for file in list_files(found.inputs)), key=_order)
    pictures = [path for path in files if format_by_name(path) == PICTURE]
    # What stands beside them, such as a table of labels or a film, is no image.
    are_pictures = 2 * len(pictures) > len(files)
    divided = (_split_and_class(found, path) for path in pictures if are_pictures)
    counted = collections.Counter(place for place in divided if not isinstance(place, BadImage))
    sights: list[Sight] = []
    unreadable: list[tuple[str, str]] = []
    labels: list[Label | None] = []
    named: tuple[str, ...] = ()
    counts: list[int] = []
    with ThreadPoolExecutor(cores()) as threads:
        for path, file in _look_at_files(files, threads):
            place = _split_and_class(found, path) if are_pictures and format_by_name(path) == PICTURE else None
            if isinstance(place, BadImage):
                file = file._replace(sights=[], faults=[str(place)])
            sights += file.sights
            unreadable += [(printable_path(path), reason) for reason in file.faults]
            labels += file.labels
            named = named or file.class_names
            counts.append(file.rows)
            if len(sights) + len(unreadable) >= limit:
                break
    no_tables = are_pictures or all(format_by_name(path) in (PICTURE, *ARCHIVES) for path in files)
    # Hugging Face and TFDS have -1 where there is no class.
    known = [label for label in labels if label is not None and not (isinstance(label, int) and label < 0)]
    texts = {label_text(label) for label in known if not isinstance(label, int)}
    class_names = found.names.class_names if no_tables and not known else named or tuple(sorted(texts))
    unlabelled = 0.0
    if are_pictures:
        unlabelled = sum(count for (_, name), count in counted.items() if name is None) / max(1, counted.total())
    elif known:
        unlabelled = 1 - len(known) / len(labels)
    if unlabelled > _MOST:  # a folder or a note here and there is no class
        class_names, known, unlabelled = (), [], 0.0
    numbers = [label for label in known if isinstance(label, int)]
    used = [split for split, _ in counted]
    return Look(
        images=found.pictures if no_tables else round(statistics.fmean(counts) * len(files)),
        sights=tuple(sights[: max(0, limit - len(unreadable))]),
        unreadable=tuple(unreadable[:limit]),
        class_names=class_names,
        class_counts=tuple(sum(counted[split, name] for split in data.splits) for name in class_names if are_pictures),
        greatest_label=max(numbers, default=None) if not class_names else None,
        split_names=(data.train, data.validation, data.test),
        splits=tuple(dict.fromkeys(split for split in data.splits if split in found.names.present)),
        are_tables=not no_tables,
        empty_splits=tuple(split for split in data.splits if are_pictures and split not in used),
        untrained_classes=tuple(name for name in class_names if are_pictures and not counted[data.train, name]),
        unlabelled=unlabelled,
        passed_over=found.passed_over,
    )


def _split_and_class(found: Survey, path: str) -> tuple[str, str | None] | BadImage:
    """Returns what a picture's name says, or why no split takes it."""
    name = path.removeprefix(found.inputs.folder)
    try:
        return found.names.split(name, os.fsencode(name)), found.names.folder(name)
    except BadImage as error:
        return error


def _look_at_files(files: list[str], threads: ThreadPoolExecutor) -> Iterator[tuple[str, _FileLook]]:
    """Looks at some files at once, and at more when these are done with."""
    together = 4 * cores()
    for start in range(0, len(files), together):
        some = files[start : start + together]
        yield from zip(some, threads.map(_look_at_file, some), strict=True)


def _look_at_file(path: str) -> _FileLook:
    """Looks at some of a file's images, from all parts of it, and at their labels."""
    looking = _LookingAtRows() if format_by_name(path) == CSV else _Looking()
    faults: list[str] = []
    labels: list[Label | None] = []
    parts = list(pieces(path, looking, open_file))
    for piece in parts[:: len(parts) // _ROWS_A_FILE + 1]:
        for row in _some(piece, _ROWS_A_FILE // len(parts) + 1, looking):
            try:
                if isinstance(row, Lost):
                    raise BadImage(row.reason)
                row.read()
            except BadImage as error:
                faults.append(str(error))
            else:
                labels.append(row.label)
    count = sum(part.rows or 0 for part in parts) or len(looking.seen) + len(faults)  # type: ignore[attr-defined]
    names: tuple[str, ...] = ()
    if any(isinstance(part, Piece) and part.format == PARQUET for part in parts):
        with open_file(path) as file:
            names = parquet_class_names(file)
    return _FileLook(looking.seen, faults, labels, names, count)  # type: ignore[attr-defined]


def _some(piece: Piece | Lost, count: int, looking: _Looking) -> Iterable[Row | Lost]:
    """Some rows from all of a piece, or the first ones where nobody knows how many it has."""
    if isinstance(piece, Lost):
        return [piece]
    step = 1 if piece.rows is None else piece.rows // count + 1
    return itertools.islice(rows(piece, looking, open_file), 0, count * step, step)


def _sight(pixels: np.ndarray, size: tuple[int, ...]) -> Sight:
    small = pixels[:: max(1, len(pixels) // 256), :: max(1, pixels.shape[1] // 256)].astype(np.int16)
    is_colour = small.shape[2] == 3 and bool(((small.max(axis=2) - small.min(axis=2)) > _COLOURFUL).mean() > 0.01)
    grey = small.mean(axis=2)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    extreme = float(((grey < _EDGES) | (grey > 255 - _EDGES)).mean())
    return Sight(size[0], size[1], is_colour, extreme, float(border.mean()), int(small.max()))


def _with_split_names(data: ImageFiles, places: Collection[tuple[str, ...]]) -> ImageFiles:
    """Takes the names that others give to the folders, archives and tables of the splits."""
    parts = sorted(set().union(*places))
    present: dict[str, Any] = {}
    for field, names in _SPLIT_NAMES.items():
        # As it is written: `Train`.
        written = [part[: len(name)] for name in names for part in parts if is_called(part.lower(), name)]
        if written:
            present[field] = written[0]
    if "train" in present and len(present) > 1:
        return dataclasses.replace(data, **present)
    is_class = data.train in parts and any(data.train not in place for place in places)
    # Beside cars and planes it is a class, of what runs on rails.
    return dataclasses.replace(data, train="training") if is_class else data


def _look_at_tfds(name: str, data_dir: str | None, limit: int) -> Look:
    """Looks at the training split of a data set, which is prepared first if it is not on disk."""
    builder = open_dataset(name, ["train"], data_dir)
    features = dict(builder.info.features.items())
    if "image" not in features:
        raise ValueError(f"The data set {name} has no feature 'image', only {sorted(features)}.")
    examples = tfds.as_numpy(builder.as_dataset(split="train").take(limit))
    label = features.get("label")
    names = _SPLIT_NAMES["validation"]
    validation = next((name for name in names if name in builder.info.splits), "validation")
    split_names = ("train", validation, "test")
    return Look(
        images=sum(split.num_examples for split in builder.info.splits.values()),
        sights=tuple(_sight(example["image"], example["image"].shape[:2]) for example in examples),
        unreadable=(),
        class_names=tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else (),
        class_counts=(),
        greatest_label=None,
        split_names=split_names,
        splits=tuple(split for split in split_names if split in builder.info.splits),
        are_tables=True,
    )


def _order(path: str) -> bytes:
    return hashlib.sha256(path.encode(errors="surrogateescape")).digest()
