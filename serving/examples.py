"""Images, ids and labels of the pipeline's tf.Examples as NumPy arrays."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from serving.images.example_features import ExampleFeatures
from serving.images.image_format import ImageFormat
from serving.images.tfrecord_framing import read_framed, unzipped

_CHUNK_BYTES = 2**25
"""Bytes of the float32 images of a chunk."""


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
    """Yields the serialised tf.Examples of TFRecord files, gzipped or not, or the first `rows`.

    Raises ValueError, which names the file, where one is damaged.
    """
    return itertools.islice(itertools.chain.from_iterable(map(_records, files)), rows)


def _records(path: str) -> Iterator[bytes]:
    with tf.io.gfile.GFile(path, "rb") as file:
        try:
            for number, record in enumerate(read_framed(unzipped(file))):
                if record is None:
                    raise ValueError(f"record {number} does not fit its checksum")
                yield record
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise ValueError(f"{path} is damaged: {error}") from error


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
