"""Beam's ModelHandler of our contract: loads the model once a worker process and scores blocks of samples."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from serving.batch.estimate import Estimate, merged
from serving.batch.model import ModelSource
from serving.batch.records import Place
from serving.batch.scoring import Block, Refused, Scorer, score_blocks


class Work(NamedTuple):
    """A block, with what tells where its image came from."""

    block: Block
    place: Place
    occurrence: int
    """Tells images of the same id apart."""


class Part(NamedTuple):
    """What is known of an image from some of its samples, or all."""

    id: bytes
    occurrence: int
    place: Place
    pixels: np.ndarray | None
    """Of the part with the first sample, where it is to be kept."""
    answer: Estimate | str
    """A string is why the model will not have the image."""


class Progress:
    """Samples that this process has scored, for whoever watches a job whose workers are threads of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples = 0

    def add(self, samples: int) -> None:
        """Counts them."""
        with self._lock:
            self._samples += samples

    @property
    def samples(self) -> int:
        """So far."""
        return self._samples


PROGRESS = Progress()


class ScoreHandler(ModelHandler[Work, list[Part], Scorer]):
    """Work in, and for each batch of it a list of its parts out.

    A list, because an element a row would cost Beam more than a small model needs for a row.
    """

    def __init__(self, model: ModelSource, *, blocks_together: int, keep_pixels: bool) -> None:
        """With so many blocks in one call of the model."""
        super().__init__()
        self._model = model
        self._blocks_together = blocks_together
        self._keep_pixels = keep_pixels

    def load_model(self) -> Scorer:
        """Called once in each process; its threads share what it returns."""
        return self._model.open()

    def run_inference(
        self, batch: Sequence[Work], model: Scorer, inference_args: dict[str, Any] | None = None
    ) -> Iterable[list[Part]]:
        """One list."""
        del inference_args  # The model takes none.
        answers = _answers(model, [work.block for work in batch])
        PROGRESS.add(sum(work.block.samples for work in batch))
        return [[self._part(work, answer) for work, answer in zip(batch, answers, strict=True)]]

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """One size for all full batches, so that a compiled model meets few shapes."""
        return {"min_batch_size": self._blocks_together, "max_batch_size": self._blocks_together}

    def get_num_bytes(self, batch: Sequence[Work]) -> int:
        """Of the images."""
        return sum(work.block.image.nbytes for work in batch)

    def get_metrics_namespace(self) -> str:
        """Of Beam's counters."""
        return "score_batch"

    def _part(self, work: Work, answer: Estimate | str) -> Part:
        keep = self._keep_pixels and work.block.first == 0
        return Part(work.block.id, work.occurrence, work.place, work.block.image if keep else None, answer)


def merged_parts(parts: Iterable[Part]) -> Part:
    """Of the same image."""
    first, *others = parts
    everything = [first, *others]
    refusals = [part.answer for part in everything if isinstance(part.answer, str)]
    answer = min(refusals) if refusals else merged(part.answer for part in everything)  # type: ignore[misc]
    pixels = next((part.pixels for part in everything if part.pixels is not None), None)
    return first._replace(answer=answer, pixels=pixels)


def _answers(scorer: Scorer, batch: Sequence[Block]) -> list[Estimate | str]:
    """Where the model refuses a batch, its halves are asked for, down to the image that it will not have."""
    try:
        return list(score_blocks(scorer, batch))
    except Refused as error:
        if len(batch) == 1:
            return [str(error)]
    middle = len(batch) // 2
    return _answers(scorer, batch[:middle]) + _answers(scorer, batch[middle:])
