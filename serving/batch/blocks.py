"""Blocks of one image's samples, the unit of work, and how a model scores them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from serving.batch.estimate import Estimate, estimate_runs
from serving.batch.seeds import seeds_for_ids, seeds_for_samples
from serving.client.answers import Scores

SAMPLES_TOGETHER = 1000
"""The most samples of a block. So few cost nothing in a shuffle, and more are worth one."""


class Refused(ValueError):
    """The model does not take these images; the message is its own."""


class Scorer(Protocol):
    """A model that scores, here or on a server."""

    def score(self, image: np.ndarray, seed: np.ndarray) -> Scores:
        """Scores images [n, H, W, C] float32 with seeds [n, 2] int64. Raises Refused if the model refuses them."""


class Block(NamedTuple):
    """Some samples of one image."""

    id: bytes
    image: np.ndarray
    """[H, W, C] float32."""
    first: int
    """The index of the first sample."""
    samples: int


def blocks(identity: bytes, image: np.ndarray, samples: int) -> Iterator[Block]:
    """Yields all `samples` samples of an image, in blocks of `SAMPLES_TOGETHER` except the last."""
    for first in range(0, samples, SAMPLES_TOGETHER):
        yield Block(identity, image, first, min(SAMPLES_TOGETHER, samples - first))


def blocks_together(samples: int, rows: int) -> int:
    """Returns how many blocks of `blocks` to score in one call of about `rows` rows."""
    return max(1, rows // min(samples, SAMPLES_TOGETHER))


def score_blocks(scorer: Scorer, batch: Sequence[Block]) -> list[Estimate]:
    """Makes one estimate a block, from one call of the model. Raises Refused if it does not take the images."""
    counts = [block.samples for block in batch]
    indices = np.concatenate([np.arange(block.first, block.first + block.samples) for block in batch])
    seeds = seeds_for_samples(np.repeat(seeds_for_ids([block.id for block in batch]), counts, axis=0), indices)
    images = np.repeat(np.stack([block.image for block in batch]), counts, axis=0)
    return estimate_runs(scorer.score(images, seeds), counts)
