"""A first look at somebody's images, before there is a task: how many, how large, grey or colour, which classes."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from components.image_example_gen.image_names import TFDS_SCHEME, Survey, survey
from components.image_example_gen.prepared_dataset import open_dataset
from serving.cores import cores
from serving.file_systems import connect
from serving.images.array_files import Label, label_text
from serving.images.bad_image import BadImage
from serving.images.file_names import ARCHIVES, PARQUET, PICTURE, format_by_name
from serving.images.file_reader import Lost, Piece, Row, pieces, rows
from serving.images.image_elements import printable_path
from serving.images.image_format import ImageFormat
from serving.images.image_tables import parquet_class_names
from serving.images.input_files import find_inputs, list_files
from serving.images.picture_decoder import decode_picture, picture_size
from serving.images.preparation import Preparation
from serving.images.reading import open_file
from trainer.task import DataSource, ImageFiles

LIMIT = 2_000
"""The most images that are looked at."""
_ROWS_A_FILE = 200
"""The most of a file of several."""
_VALIDATION_NAMES = ("validation", "val", "valid", "dev")
_WHITE = (255, 255, 255)
_ENOUGH = (256, 256)
"""Rows and columns of which more show nothing that is looked for."""
_COLOURFUL = 12
"""Difference of two channels, of 255, from which on a pixel has a colour."""
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


class _FileLook(NamedTuple):
    """What one file shows."""

    sights: list[Sight]
    faults: list[str]
    labels: set[Label]
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
    connect([images])
    data = _with_split_names(ImageFiles(images=images, has_labels=True))
    found = survey(data)
    files = sorted((file.path for file in list_files(found.inputs)), key=_order)
    sights: list[Sight] = []
    unreadable: list[tuple[str, str]] = []
    labels: set[Label] = set()
    named: tuple[str, ...] = ()
    counts: list[int] = []
    with ThreadPoolExecutor(cores()) as threads:
        for path, file in _look_at_files(files, threads):
            sights += file.sights
            unreadable += [(printable_path(path), reason) for reason in file.faults]
            labels |= file.labels
            named = named or file.class_names
            counts.append(file.rows)
            if len(sights) + len(unreadable) >= limit:
                break
    class_counts = _class_counts(found, files) if found.are_pictures else {}
    texts = {label_text(label) for label in labels if not isinstance(label, int)}
    numbers = [label for label in labels if isinstance(label, int)]
    no_tables = all(format_by_name(path) in (PICTURE, *ARCHIVES) for path in files)
    names = tuple(class_counts) if found.are_pictures else named or tuple(sorted(texts))
    if no_tables and not found.are_pictures and not labels:
        names = found.names.class_names
    return Look(
        images=found.pictures if no_tables else round(statistics.fmean(counts) * len(files)),
        sights=tuple(sights[: max(0, limit - len(unreadable))]),
        unreadable=tuple(unreadable[:limit]),
        class_names=names,
        class_counts=tuple(class_counts.values()),
        greatest_label=max(numbers, default=None) if not names else None,
        split_names=(data.train, data.validation, data.test),
        splits=tuple(dict.fromkeys(split for split in data.splits if split in found.names.present)),
    )


def _look_at_files(files: list[str], threads: ThreadPoolExecutor) -> Iterator[tuple[str, _FileLook]]:
    """Looks at some files at once, and at more when these are done with."""
    together = 4 * cores()
    for start in range(0, len(files), together):
        some = files[start : start + together]
        yield from zip(some, threads.map(_look_at_file, some), strict=True)


def _look_at_file(path: str) -> _FileLook:
    """Looks at some of a file's images, from all parts of it, and at their labels."""
    looking = _Looking()
    faults: list[str] = []
    labels: set[Label] = set()
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
                labels |= set() if row.label is None else {row.label}
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
    return Sight(size[0], size[1], is_colour, extreme, float(border.mean()))


def _with_split_names(data: ImageFiles) -> ImageFiles:
    """Takes the name that others give to the folder of validation, where there is none of ours."""
    try:
        inputs = find_inputs([data.images])
    except ValueError:  # the survey says it in the task's words
        return data
    places = [set(file.path.removeprefix(inputs.folder).split("/")[:-1]) for file in list_files(inputs)]
    folders = set().union(*places)
    validation = next((name for name in _VALIDATION_NAMES if name in folders), data.validation)
    is_only_split = data.train in folders and not {validation, data.test} & folders
    if is_only_split and any(data.train not in place for place in places):
        # Beside cars and planes it is a class, of what runs on rails.
        return dataclasses.replace(data, train="training")
    return dataclasses.replace(data, validation=validation)


def _look_at_tfds(name: str, data_dir: str | None, limit: int) -> Look:
    """Looks at the training split of a data set, which is prepared first if it is not on disk."""
    builder = open_dataset(DataSource(builder=name, train="train", validation="train", test="train"), data_dir)
    sights = []
    for features in tfds.as_numpy(builder.as_dataset(split="train").take(limit)):
        if "image" not in features:
            raise ValueError(f"The data set {name} has no feature 'image', only {sorted(features)}.")
        sights.append(_sight(features["image"], features["image"].shape[:2]))
    label = builder.info.features.get("label")
    is_classes = isinstance(label, tfds.features.ClassLabel)
    validation = next((name for name in _VALIDATION_NAMES if name in builder.info.splits), "validation")
    split_names = ("train", validation, "test")
    return Look(
        images=sum(split.num_examples for split in builder.info.splits.values()),
        sights=tuple(sights),
        unreadable=(),
        class_names=tuple(label.names) if is_classes else (),
        class_counts=(),
        greatest_label=None,
        split_names=split_names,
        splits=tuple(split for split in split_names if split in builder.info.splits),
    )


def _class_counts(found: Survey, files: list[str]) -> dict[str, int]:
    """Counts the pictures of each class; none where some of them lie in no folder of a class."""
    counted = collections.Counter(found.names.folder(path.removeprefix(found.inputs.folder)) for path in files)
    return {} if None in counted else {name: counted[name] for name in found.names.class_names}


def _order(path: str) -> bytes:
    return hashlib.sha256(path.encode(errors="surrogateescape")).digest()
