"""Reads images and labels of the pipeline's tf.Examples, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from serving.batch.pixels import ImageFormat

_CHUNK_BYTES = 2**25
"""Of the float32 images of a chunk."""


class Examples(NamedTuple):
    """Some of a split, in order."""

    image: np.ndarray
    """[n, H, W, C] float32 in [0, 1]."""
    label: np.ndarray
    """[n] int64; -1 where the data set has none."""


def files_of(pattern: str) -> list[str]:
    """Those that match, in order. Raises ValueError where none does."""
    files = sorted(tf.io.gfile.glob(pattern))
    if not files:
        raise ValueError(f"No file of examples matches {pattern!r}. Name them as 'FOLDER/Split-test/*'.")
    return files


def chunks(pattern: str, images: ImageFormat, *, rows: int | None = None) -> Iterator[Examples]:
    """All examples of the files, or the first `rows`. Of an image with a margin the centre is taken.

    Raises ValueError where nothing matches, and BadImage for an image of another size or range.
    """
    files = files_of(pattern)
    records = tf.data.TFRecordDataset(files, compression_type="GZIP" if files[0].endswith(".gz") else "")
    features = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64, -1)}
    batches = records.take(-1 if rows is None else rows).batch(max(1, _CHUNK_BYTES // (4 * images.dimensions)))
    for example in batches.map(lambda serialized: tf.io.parse_example(serialized, features)).prefetch(1):
        yield Examples(np.stack([images.of_bytes(raw) for raw in example["image"].numpy()]), example["label"].numpy())


def first(pattern: str, images: ImageFormat, rows: int) -> Examples:
    """The first `rows` examples, or as many as there are. Raises ValueError for none, and as `chunks` does."""
    found = list(chunks(pattern, images, rows=rows))
    if not found:
        raise ValueError(f"The files {pattern} hold no example.")
    return Examples(*map(np.concatenate, zip(*found, strict=True)))
