"""A first look at somebody's images, before there is a task: how many, how large, grey or colour, which classes."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from components.image_example_gen.image_names import TFDS_SCHEME, Survey, survey
from components.image_example_gen.prepared_dataset import open_dataset
from serving.images.bad_image import BadImage
from serving.images.file_names import ARCHIVES, PICTURE, format_by_name
from serving.images.file_reader import Lost, pieces, rows
from serving.images.image_format import ImageFormat
from serving.images.input_files import find_inputs, list_files
from serving.images.preparation import Preparation
from serving.images.reading import open_file
from trainer.task import DataSource, ImageFiles

LIMIT = 2_000
"""The most images that are looked at."""
_ROWS_A_FILE = 200
"""The most of a file of several."""
_VALIDATION_NAMES = ("validation", "val", "valid", "dev")
_SMALL = (64, 64, 3)
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
    """What is known of a folder of images."""

    files: int
    is_pictures: bool
    """Whether each file is one image, so that `files` counts images."""
    sights: tuple[Sight, ...]
    unreadable: tuple[tuple[str, str], ...]
    """File and reason."""
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    splits: tuple[str, ...]
    """Names of the folders that divide the images, in the order training, validation, test; empty if none do."""

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Rows and columns of each."""
        return [(sight.rows, sight.columns) for sight in self.sights]


class _Looking(ImageFormat):
    """Notes what an image is before it is prepared."""

    def __init__(self) -> None:
        super().__init__(shape=_SMALL, binary=False, background=(255, 255, 255), preparation=Preparation(resize="fit"))
        object.__setattr__(self, "seen", [])

    def _prepared(self, pixels: np.ndarray) -> np.ndarray:
        self.seen.append(_sight(pixels))  # type: ignore[attr-defined]
        return super()._prepared(pixels)


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
    data = _with_split_names(ImageFiles(images=images, has_labels=True))
    found = survey(data)
    files = sorted((file.path for file in list_files(found.inputs)), key=_order)
    looking = _Looking()
    unreadable: list[tuple[str, str]] = []
    for path in files:
        if len(looking.seen) + len(unreadable) >= limit:  # type: ignore[attr-defined]
            break
        unreadable += [(path, reason) for reason in _faults(path, looking)]
    counts = _class_counts(found, files)
    return Look(
        files=found.files,
        is_pictures=all(format_by_name(path) == PICTURE for path in files),
        sights=tuple(looking.seen),  # type: ignore[attr-defined]
        unreadable=tuple(unreadable),
        class_names=tuple(counts),
        class_counts=tuple(counts.values()),
        splits=tuple(dict.fromkeys(split for split in data.splits if split in found.names.present)),
    )


def _faults(path: str, looking: _Looking) -> Iterator[str]:
    """Looks at a file's images; yields why some of them cannot be read."""
    for piece in pieces(path, looking, open_file):
        if isinstance(piece, Lost):
            yield piece.reason
            continue
        for row in itertools.islice(rows(piece, looking, open_file), _ROWS_A_FILE):
            try:
                if isinstance(row, Lost):
                    raise BadImage(row.reason)
                row.read()
            except BadImage as error:
                yield str(error)


def _sight(pixels: np.ndarray) -> Sight:
    small = pixels[:: max(1, len(pixels) // 256), :: max(1, pixels.shape[1] // 256)].astype(np.int16)
    is_colour = small.shape[2] == 3 and bool(((small.max(axis=2) - small.min(axis=2)) > _COLOURFUL).mean() > 0.01)
    grey = small.mean(axis=2)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    extreme = float(((grey < _EDGES) | (grey > 255 - _EDGES)).mean())
    return Sight(len(pixels), pixels.shape[1], is_colour, extreme, float(border.mean()))


def _with_split_names(data: ImageFiles) -> ImageFiles:
    """Takes the name that others give to the folder of validation, where there is none of ours."""
    try:
        files = list(list_files(find_inputs([data.images])))
    except ValueError:  # the survey says it in the task's words
        return data
    folders = {part for file in files for part in file.path.split("/")[:-1]}
    validation = next((name for name in _VALIDATION_NAMES if name in folders), data.validation)
    return dataclasses.replace(data, validation=validation)


def _look_at_tfds(name: str, data_dir: str | None, limit: int) -> Look:
    """Looks at the training split of a data set, which is prepared first if it is not on disk."""
    builder = open_dataset(DataSource(builder=name, train="train", validation="train", test="train"), data_dir)
    sights = []
    for features in tfds.as_numpy(builder.as_dataset(split="train").take(limit)):
        if "image" not in features:
            raise ValueError(f"The data set {name} has no feature 'image', only {sorted(features)}.")
        sights.append(_sight(features["image"]))
    label = builder.info.features.get("label")
    is_classes = isinstance(label, tfds.features.ClassLabel)
    return Look(
        files=sum(split.num_examples for split in builder.info.splits.values()),
        is_pictures=True,
        sights=tuple(sights),
        unreadable=(),
        class_names=tuple(label.names) if is_classes else (),
        class_counts=(),
        splits=tuple(split for split in ("train", "validation", "test") if split in builder.info.splits),
    )


def _class_counts(found: Survey, files: list[str]) -> dict[str, int]:
    """Counts the images of each class, where folders are classes; none where they are archives or tables."""
    if any(format_by_name(path) not in (PICTURE, *ARCHIVES) for path in files):
        return {}
    names = [path.removeprefix(found.inputs.folder) for path in files if format_by_name(path) == PICTURE]
    counted = collections.Counter(found.names.folder(name) for name in names)
    if None in counted:
        return {}
    return {name: counted[name] for name in found.names.class_names}


def _order(path: str) -> bytes:
    return hashlib.sha256(path.encode(errors="surrogateescape")).digest()
