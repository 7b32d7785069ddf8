"""Scores samples of images: each row's image and the seed that follows from its id and the sample's index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from serving.batch.estimate import Estimate, estimates
from serving.batch.seeds import seeds_of_ids, seeds_of_samples
from serving.client.answers import Scores

SAMPLES_TOGETHER = 1000
"""Of one image, at most, in one block: fewer cost nothing in a shuffle, more are worth one."""


class Refused(ValueError):
    """The model takes no such images; the message is its own."""


class Scorer(Protocol):
    """A model that scores, here or on a server."""

    def score(self, image: np.ndarray, seed: np.ndarray) -> Scores:
        """Of images [n, H, W, C] float32 and seeds [n, 2] int64. Raises Refused where the model will not have them."""


class Block(NamedTuple):
    """Some samples of one image: the unit of work."""

    id: bytes
    image: np.ndarray
    """[H, W, C] float32."""
    first: int
    """Index of the first sample."""
    samples: int


def blocks(identity: bytes, image: np.ndarray, samples: int) -> Iterator[Block]:
    """All `samples` samples of an image, in blocks of `SAMPLES_TOGETHER` but for the last."""
    for first in range(0, samples, SAMPLES_TOGETHER):
        yield Block(identity, image, first, min(SAMPLES_TOGETHER, samples - first))


def blocks_together(samples: int, rows: int) -> int:
    """How many blocks of `blocks` are scored in one call of about `rows` rows."""
    return max(1, rows // min(samples, SAMPLES_TOGETHER))


def score_blocks(scorer: Scorer, batch: Sequence[Block]) -> list[Estimate]:
    """One estimate a block, from one call of the model. Raises Refused where it will not have the images."""
    counts = [block.samples for block in batch]
    indices = np.concatenate([np.arange(block.first, block.first + block.samples) for block in batch])
    seeds = seeds_of_samples(np.repeat(seeds_of_ids([block.id for block in batch]), counts, axis=0), indices)
    images = np.repeat(np.stack([block.image for block in batch]), counts, axis=0)
    return estimates(scorer.score(images, seeds), counts)
