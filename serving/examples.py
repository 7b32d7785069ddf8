"""Images, ids and labels of the pipeline's tf.Examples as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from serving.image_format import BadImage, ImageFormat

_CHUNK_BYTES = 2**25
"""Bytes of the float32 images of a chunk."""
_RECORDS_AT_ONCE = 256


class ExampleFeatures:
    """The features of one serialised tf.Example, each checked when it is asked for."""

    def __init__(self, serialised: bytes) -> None:
        """Parses it. Raises BadImage if it is no tf.Example."""
        try:
            self._features = tf.train.Example.FromString(serialised).features.feature
        except DecodeError as error:
            raise BadImage("the record is no tf.Example") from error

    @property
    def id(self) -> bytes:
        """The example's id. Raises BadImage if there is none."""
        return self._only_bytes("id")

    @property
    def image(self) -> bytes:
        """Raw uint8 pixels, row by row. Raises BadImage if there are none."""
        return self._only_bytes("image")

    @property
    def label(self) -> int | None:
        """The class; None where the data set has none."""
        values = self._values("label", "int64_list")
        return int(values[0]) if values else None

    def _only_bytes(self, name: str) -> bytes:
        values = self._values(name, "bytes_list")
        if len(values) != 1:
            raise BadImage(f"the example's feature {name!r} has {len(values)} byte strings; expected 1")
        return bytes(values[0])

    def _values(self, name: str, kind: str) -> Sequence[Any]:
        # Asked with `in`: indexing a protobuf map would add what is missing.
        return getattr(self._features[name], kind).value if name in self._features else ()


class Examples(NamedTuple):
    """Some examples, in the order of their files."""

    images: np.ndarray
    """[n, H, W, C]: float32 in [0, 1], or uint8 from 0 to 255."""
    labels: np.ndarray | None
    """[n] int64; None where the data set has none."""


def match_files(pattern: str) -> list[str]:
    """Returns the files that match the pattern, in order. Raises ValueError if none does."""
    files = sorted(tf.io.gfile.glob(pattern))
    if not files:
        raise ValueError(f"No file of examples matches {pattern!r}. Name them as 'FOLDER/Split-test/*'.")
    return files


def read_records(files: Sequence[str], *, rows: int | None = None) -> Iterator[bytes]:
    """Yields the serialised tf.Examples of TFRecord files, or the first `rows`; files are gzipped if named .gz."""
    compression = "GZIP" if files and files[0].endswith(".gz") else ""
    records = tf.data.TFRecordDataset(list(files), compression_type=compression).take(-1 if rows is None else rows)
    # Many at once, because a call into TensorFlow takes longer than a record.
    for batch in records.batch(_RECORDS_AT_ONCE).as_numpy_iterator():
        yield from batch


def read_chunks(files: Sequence[str], images: ImageFormat, *, rows: int | None = None) -> Iterator[Examples]:
    """Yields the examples of TFRecord files, or the first `rows`, in chunks of some 32 MiB of float32 images.

    Args:
      files: TFRecord files.
      images: the stored images; the centre of one with a margin is taken.
      rows: None for all.

    Raises:
      BadImage: if a record is no tf.Example, or its image has another size or range.
    """
    chunk_rows = max(1, _CHUNK_BYTES // (4 * images.dimensions))
    pixels: list[np.ndarray] = []
    labels: list[int | None] = []
    for record in read_records(files, rows=rows):
        features = ExampleFeatures(record)
        pixels.append(images.from_bytes(features.image))
        labels.append(features.label)
        if len(pixels) == chunk_rows:
            yield _examples(pixels, labels)
            pixels, labels = [], []
    if pixels:
        yield _examples(pixels, labels)


def read_first(files: Sequence[str], images: ImageFormat, rows: int, *, as_bytes: bool = False) -> Examples:
    """Reads the first `rows` examples, or as many as there are.

    Args:
      files: TFRecord files.
      images: the stored images, as in `read_chunks`.
      rows: at least 1.
      as_bytes: return uint8 from 0 to 255, which takes a quarter of the memory.

    Raises:
      ValueError: if there are none.
      BadImage: as `read_chunks` does.
    """
    chunks = [
        chunk._replace(images=np.rint(255 * chunk.images).astype(np.uint8)) if as_bytes else chunk
        for chunk in read_chunks(files, images, rows=rows)
    ]
    if not chunks:
        raise ValueError(f"There are no examples in {', '.join(files) or 'no files'}.")
    labels = [chunk.labels for chunk in chunks if chunk.labels is not None]
    return Examples(
        np.concatenate([chunk.images for chunk in chunks]),
        np.concatenate(labels) if len(labels) == len(chunks) else None,
    )


def _examples(pixels: list[np.ndarray], labels: list[int | None]) -> Examples:
    return Examples(np.stack(pixels), None if None in labels else np.array(labels, np.int64))
