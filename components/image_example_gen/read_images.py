"""Reads a user's images with Beam as tf.Examples, each with its split, in an order that mixes them."""

from __future__ import annotations

import collections
import functools
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import apache_beam as beam
import numpy as np
import tensorflow_datasets as tfds
from apache_beam.pvalue import TaggedOutput

from components.image_example_gen.image_names import ImageNames
from components.image_example_gen.ingestion_settings import IngestionSettings
from components.image_example_gen.tf_example import checked_example, example_id
from serving.cores import cores
from serving.images.array_files import Label
from serving.images.bad_image import BadImage
from serving.images.file_names import ARCHIVES, PICTURE
from serving.images.file_reader import Lost, Piece, Row, rows
from serving.images.image_elements import Place, Rejected
from serving.images.image_format import ImageFormat
from serving.images.input_files import Inputs, MatchInputs
from serving.images.preparation import Preparation
from serving.images.reading import REJECTED, CutFiles, lost_rows, open_file
from trainer.task import Binarisation, ImageFiles

_TOGETHER = 16
"""Images that a thread decodes in one go, and that are one element for Beam: what Python and Beam do with each thread's
work and with each element takes as long as decoding a small picture."""

_Item = TypeVar("_Item")


class Read(NamedTuple):
    """An image that training or an evaluation sees."""

    split: str
    id: bytes
    label: int | None
    digest: bytes
    """Of the pixels before they are binarised: two images of one digest are the same."""
    is_black: bool
    """Whether no pixel is brighter than the darkest grey, before they are binarised."""
    example: bytes
    """The serialised tf.Example."""


class Converter:
    """Makes a Read, or a Rejected, of whatever a source has. Threads may share it."""

    def __init__(self, settings: IngestionSettings, names: ImageNames) -> None:
        assert isinstance(settings.data, ImageFiles)
        self._settings = settings
        self._names = names
        data = settings.data
        self.images = ImageFormat(
            shape=settings.image_shape,
            binary=Binarisation.GIVEN in settings.binarisation.values(),
            background=data.background,
            preparation=Preparation(crop=data.crop, resize=data.resize.value, padding=data.padding),
        )

    def convert(
        self, read: Callable[[], np.ndarray], name: str, identity: bytes, label: Label | None, place: Place
    ) -> Read | Rejected:
        """Decodes and prepares one image; what is wrong with it is the reason of a Rejected.

        Args:
          read: returns the pixels, as a Row's does.
          name: the image's file, or its name in an archive.
          identity: its id, another one for each row of a file.
          label: what its file says about its class.
          place: where it is, for people.
        """
        try:
            # The name decides before anything is decoded.
            split = self._names.split(name, identity)
            number = self._names.label(name, label) if self._settings.data.has_labels else None
            scale = 1 if self.images.binary else 255
            image = np.rint(scale * read()).astype(np.uint8)
            features: dict[str, Any] = {"image": image, "id": identity}
            if number is not None:
                features["label"] = np.int64(number)
            example = checked_example(features, split=split, settings=self._settings)
        except ValueError as error:  # BadImage is one
            return Rejected(identity, place, str(error))
        digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        is_black = bool(image.max() < (1 if self.images.binary else 2))
        return Read(split, identity, number, digest, is_black, example.SerializeToString(deterministic=True))


class ReadFiles(beam.PTransform):
    """Gives the collections `images`, of lists of Read, and `REJECTED`, of Rejected.

    The images come in the order of a hash of their names, so that neighbours are of any class; a training reads them
    through a buffer, which may be smaller than all of them.
    """

    def __init__(self, inputs: Inputs, converter: Converter, *, buckets: int) -> None:
        super().__init__()
        self._inputs = inputs
        self._converter = converter
        self._buckets = buckets

    def expand(self, root: beam.pvalue.PBegin) -> dict[str, beam.PCollection]:
        """Spreads pieces of files over the workers; images stay where they are read."""
        folder = self._inputs.folder
        cut = (root | "Match" >> MatchInputs(self._inputs))["files"] | "Cut" >> beam.ParDo(
            CutFiles(self._converter.images)
        ).with_outputs(REJECTED, main="pieces")
        read = (
            cut.pieces
            | "Key" >> beam.Map(lambda piece, buckets: (_order(piece, folder) % buckets, piece), self._buckets)
            | "Spread" >> beam.GroupByKey()
            | "Read" >> beam.ParDo(_ReadPieces(self._converter, folder)).with_outputs(REJECTED, main="images")
        )
        return {"images": read.images, REJECTED: (cut[REJECTED], read[REJECTED]) | "Rejected" >> beam.Flatten()}


class ReadTfds(beam.PTransform):
    """Gives what ReadFiles gives, of a TFDS data set."""

    def __init__(self, builder: tfds.core.DatasetBuilder, splits: Sequence[str], converter: Converter) -> None:
        super().__init__()
        self._builder = builder
        self._splits = splits
        self._converter = converter

    def expand(self, root: beam.pvalue.PBegin) -> dict[str, beam.PCollection]:
        """Reads the files of each split in parallel."""
        read_config = tfds.ReadConfig(add_tfds_id=True, assert_cardinality=False)
        splits = [
            root
            | f"FromTFDS[{split}]" >> tfds.beam.ReadFromTFDS(self._builder, split=split, read_config=read_config)
            | f"AsNumPy[{split}]" >> beam.Map(tfds.as_numpy)
            | f"Convert[{split}]"
            >> beam.ParDo(_ConvertTfds(self._converter, split)).with_outputs(REJECTED, main="images")
            for split in self._splits
        ]
        return {
            "images": [split.images for split in splits] | "Images" >> beam.Flatten(),
            REJECTED: [split[REJECTED] for split in splits] | "Rejected" >> beam.Flatten(),
        }


class _ConvertTfds(beam.DoFn):
    def __init__(self, converter: Converter, split: str) -> None:
        self._converter = converter
        self._split = split

    def process(self, features: dict[str, Any]) -> Iterator[list[Read] | TaggedOutput]:
        identity = example_id(features)
        name = f"{self._split}/{identity.decode()}"
        label = features.get("label")
        result = self._converter.convert(
            lambda: self._pixels(features), name, identity, None if label is None else int(label), Place(name)
        )
        yield from _sorted([result])

    def _pixels(self, features: dict[str, Any]) -> np.ndarray:
        if "image" not in features:
            raise BadImage(f"the data set has no feature 'image', only {sorted(features)}")
        return self._converter.images.from_pixels(np.asarray(features["image"]))


class _ReadPieces(beam.DoFn):
    """Decodes on all cores: Pillow works outside of Python's lock."""

    def __init__(self, converter: Converter, folder: str) -> None:
        self._converter = converter
        self._folder = folder

    def setup(self) -> None:
        self._threads = ThreadPoolExecutor(cores())

    def teardown(self) -> None:
        self._threads.shutdown()

    def process(self, bucket: tuple[int, Iterable[Piece]]) -> Iterator[list[Read] | TaggedOutput]:
        waiting: collections.deque[Future[list[Read | Rejected]]] = collections.deque()
        for work in self._work(sorted(bucket[1], key=lambda piece: _order(piece, self._folder))):
            waiting.append(self._threads.submit(work))
            # One more for each thread than it works on, so that none waits for this one.
            if len(waiting) > 2 * cores():
                yield from _sorted(waiting.popleft().result())
        while waiting:
            yield from _sorted(waiting.popleft().result())

    def _work(self, ordered: list[Piece]) -> Iterator[Callable[[], list[Read | Rejected]]]:
        """Yields what a thread can do by itself: some pictures' files, or some images of a larger file."""
        for are_pictures, group in itertools.groupby(ordered, lambda piece: piece.format == PICTURE):
            if are_pictures:
                yield from (functools.partial(self._read_files, files) for files in _chunks(group))
                continue
            for piece in group:
                for images in _chunks(self._rows(piece)):
                    yield functools.partial(self._convert_all, piece, images)

    def _read_files(self, files: Iterable[Piece]) -> list[Read | Rejected]:
        return [result for piece in files for result in self._convert_all(piece, self._rows(piece))]

    def _convert_all(self, piece: Piece, images: Iterable[Row | Lost]) -> list[Read | Rejected]:
        return [self._convert(piece, row) for row in images]

    def _rows(self, piece: Piece) -> Iterator[Row | Lost]:
        return rows(piece, self._converter.images, open_file)

    def _convert(self, piece: Piece, row: Row | Lost) -> Read | Rejected:
        if isinstance(row, Lost):
            return lost_rows(piece.path, row)
        name = piece.path.removeprefix(self._folder)
        identity = piece.row_id(row, name)
        if piece.format in ARCHIVES:
            name = os.fsdecode(identity)
        place = Place(piece.path, None if piece.format == PICTURE else row.number)
        return self._converter.convert(row.read, name, identity, row.label, place)


def _sorted(results: Iterable[Read | Rejected]) -> Iterator[list[Read] | TaggedOutput]:
    """Yields each that is rejected apart, and the others together."""
    images = []
    for result in results:
        if isinstance(result, Rejected):
            yield TaggedOutput(REJECTED, result)
        else:
            images.append(result)
    yield images


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    remaining = iter(items)
    while chunk := list(itertools.islice(remaining, _TOGETHER)):
        yield chunk


def _order(piece: Piece, folder: str) -> int:
    """A hash of the name below the folder, and so the same wherever the folder is."""
    name = f"{piece.path.removeprefix(folder)}\0{piece.first}\0{piece.part}"
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8], "big")
