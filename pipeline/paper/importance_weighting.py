"""The importance-weighted bound of a split, image by image, which goes on where it was interrupted."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from serving.batch.estimate import Estimate, merged
from serving.batch.example import parse
from serving.batch.pixels import ImageFormat
from serving.batch.records import text_of_id
from serving.batch.saved_model import SavedModelScorer, image_format
from serving.batch.scoring import Block, Scorer, blocks, blocks_together, score_blocks

_ROWS = 512
"""Samples in one call of the model."""
_REPORT_SECONDS = 2.0

Image = tuple[bytes, np.ndarray]


class Mean(NamedTuple):
    """Over the images of a split, in nats."""

    images: int
    bound: float
    standard_error: float


def importance_weighted_bound(
    model_dir: Path, examples: Path, samples: int, record: Path, report: Callable[[str], None]
) -> Mean:
    """The mean over the images of a split, from `samples` samples of each; at least two images.

    Args:
      model_dir: a SavedModel with its task.
      examples: folder of the split's gzipped TFRecords.
      samples: K, at least 1.
      record: a file of JSON lines, one an image that is done. Those that it holds already are not scored again, so it
        has to be of this model, split and number of samples. One that is older than the model is begun anew.
      report: is told the progress, in a line of text.

    Raises BadImage where an example is none of the model's, ValueError where a bound is not finite.
    """
    images = image_format(str(model_dir))
    files = sorted(map(str, examples.iterdir()))
    if record.exists() and record.stat().st_mtime < (model_dir / "saved_model.pb").stat().st_mtime:
        record.unlink()
    done = _done(record)
    total = sum(1 for _ in _records(files))
    if len(done) < total:
        scorer = SavedModelScorer(str(model_dir))
        remaining = (image for image in _images(files, images) if text_of_id(image[0]) not in done)
        record.parent.mkdir(parents=True, exist_ok=True)
        with record.open("a", encoding="utf-8") as file:
            # A line that was torn by an interruption stays, and spoils nothing: it has no second half.
            file.write("\n")
            for identity, bound in _progress(_bounds(scorer, remaining, samples), len(done), total, report):
                done[text_of_id(identity)] = bound
                file.write(json.dumps({"id": text_of_id(identity), "bound": bound}) + "\n")
                file.flush()
    bounds = np.array([done[text_of_id(identity)] for identity, _ in _images(files, images)])
    if not np.isfinite(bounds).all():
        raise ValueError(
            f"The importance-weighted bound of {int((~np.isfinite(bounds)).sum()):,} images is not finite."
        )
    return Mean(len(bounds), float(bounds.mean()), float(bounds.std(ddof=1) / math.sqrt(len(bounds))))


def _bounds(scorer: Scorer, images: Iterator[Image], samples: int) -> Iterator[tuple[bytes, float]]:
    """Of each image, as soon as its samples are scored."""
    work = itertools.chain.from_iterable(blocks(identity, image, samples) for identity, image in images)
    batches = _batches(work, blocks_together(samples, _ROWS))
    scored = itertools.chain.from_iterable(zip(batch, score_blocks(scorer, batch), strict=True) for batch in batches)
    parts: list[Estimate] = []  # of one image, whose blocks follow each other
    for block, part in scored:
        parts.append(part)
        if block.first + block.samples == samples:
            yield block.id, merged(parts).importance_weighted_bound
            parts = []


def _batches(work: Iterator[Block], size: int) -> Iterator[list[Block]]:
    while batch := list(itertools.islice(work, size)):
        yield batch


def _progress(
    bounds: Iterator[tuple[bytes, float]], done: int, total: int, report: Callable[[str], None]
) -> Iterator[tuple[bytes, float]]:
    started = told = time.monotonic()
    for count, item in enumerate(bounds, 1):
        yield item
        now = time.monotonic()
        if now - told >= _REPORT_SECONDS:
            told = now
            left = (total - done - count) * (now - started) / count
            report(f"{done + count:,} of {total:,} images, {_duration(left)} left")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _images(files: list[str], images: ImageFormat) -> Iterator[Image]:
    for serialised in _records(files):
        features = parse(serialised)
        yield features.id, images.of_bytes(features.image)


def _records(files: list[str]) -> Iterator[bytes]:
    return tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()


def _done(record: Path) -> dict[str, float]:
    done = {}
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else ():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        done[values["id"]] = values["bound"]
    return done
