"""Makes a model's reference: scores a validation split as the batch job does, and writes the result beside the model.

Without Beam, for the Trainer makes one of each model that it exports.
"""

from __future__ import annotations

import itertools
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

import numpy as np
import tensorflow as tf

from serving.batch.blocks import Block, score_blocks
from serving.batch.calibration import statistics
from serving.batch.estimate import Estimate
from serving.batch.saved_model_scorer import SIGNATURE, SavedModelScorer, image_format
from serving.images.array_files import Label, label_text
from serving.images.bad_image import BadImage
from serving.images.file_reader import Lost, Opener, open_local, pieces, rows
from serving.images.image_format import ImageFormat
from serving.reference.complexity import complexity
from serving.reference.model_reference import REFERENCE_FILE, BadReference, Reference
from serving.saved_model import signature_definitions

_ROWS = 512


class _Measured(NamedTuple):
    estimate: Estimate
    complexity: float | None = None


class _Labelled(NamedTuple):
    block: Block
    label: Label | None


def add_reference(
    model_dir: str, files: Sequence[str], *, split: str = "validation", report: Callable[[str], None]
) -> None:
    """Writes the reference of a model that was just exported; of one that scores nothing, such as a classifier, none.

    Args:
      model_dir: the SavedModel.
      files: the validation split's.
      split: its name.
      report: gets a line of text where there can be none.

    Raises ValueError for a file that cannot be read.
    """
    if SIGNATURE not in signature_definitions(model_dir):
        return
    try:
        reference = measure_reference(model_dir, files, split=split)
    except BadReference as error:  # It is for the gate to judge a model whose numbers are not finite.
        report(f"warning: {error}")
        return
    write_reference(model_dir, reference)


def measure_reference(
    model_dir: str,
    files: Sequence[str],
    *,
    split: str,
    images: ImageFormat | None = None,
    open_file: Opener | None = None,
) -> Reference:
    """Scores all images of files with one sample each, whose noise follows from the image's id, as the job does.

    Args:
      model_dir: the SavedModel.
      files: of any format that the batch job reads.
      split: what to call the images.
      images: how they become the model's; None for what its task says.
      open_file: None for files here, or at an address that TensorFlow opens.

    Raises:
      ValueError: for a row that cannot be scored, or if there is none. A reference with holes is none.
    """
    images = images or image_format(model_dir)
    scorer = SavedModelScorer(model_dir)
    columns: dict[str, list[np.ndarray]] = {}
    labels: list[Label | None] = []
    every = _read(files, images, open_file or _open)
    while batch := list(itertools.islice(every, _ROWS)):
        blocks = [each.block for each in batch]
        parts = [_Measured(estimate) for estimate in score_blocks(scorer, blocks)]
        measured = statistics(parts)
        if images.binary:
            measured["complexity"] = complexity(np.stack([block.image for block in blocks]))
        for name, values in measured.items():
            columns.setdefault(name, []).append(values)
        labels += [label_text(each.label) if isinstance(each.label, bytes) else each.label for each in batch]
    if not labels:
        raise BadImage(f"There are no images in {', '.join(files) or 'no files'}.")
    return Reference.from_statistics(
        {name: np.concatenate(values) for name, values in columns.items()}, split=split, labels=labels
    )


def write_reference(model_dir: str, reference: Reference) -> None:
    """Writes the file into the model's assets, whole or not at all, in place of one that is there.

    Raises OSError, which names the file, if it cannot be written.
    """
    path = os.path.join(model_dir, REFERENCE_FILE)
    partial = f"{path}.partial"
    try:
        tf.io.gfile.makedirs(os.path.dirname(path))
        with tf.io.gfile.GFile(partial, "w") as file:
            file.write(reference.to_json())
        tf.io.gfile.rename(partial, path, overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(f"Cannot write {path}: {error.message}.") from error


def _read(files: Sequence[str], images: ImageFormat, open_file: Opener) -> Iterator[_Labelled]:
    for path in files:
        for piece in pieces(path, images, open_file):
            if isinstance(piece, Lost):
                raise BadImage(f"{path}: {piece.reason}")
            for row in rows(piece, images, open_file):
                if isinstance(row, Lost):
                    raise BadImage(f"{path}, row {row.number}: {row.reason}")
                identity = piece.row_id(row, posixpath.basename(path))
                try:
                    pixels = images.drawn(row.read(), identity)
                except BadImage as error:
                    raise BadImage(f"{path}, row {row.number}: {error}") from error
                yield _Labelled(Block(identity, pixels, 0, 1), row.label)


def _open(path: str) -> IO[bytes]:
    if "://" not in path:
        return open_local(path)
    # TensorFlow's own file does not tell where it is after `seek`, by which a reader learns the size.
    import io

    with tf.io.gfile.GFile(path, "rb") as file:
        return io.BytesIO(file.read())
