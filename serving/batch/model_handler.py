"""Beam's ModelHandler for the signature `score`: one model a worker process, which scores blocks of samples."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from apache_beam.ml.inference.base import ModelHandler

from serving.batch.blocks import Block, Refused, Scorer, score_blocks
from serving.batch.estimate import Estimate, merge_estimates
from serving.batch.model_source import ModelSource
from serving.images.image_elements import Place
from serving.reference.complexity import complexity


class Work(NamedTuple):
    """A block and where its image came from."""

    block: Block
    place: Place
    """Tells images of the same id apart, the same whenever a runner computes it."""


class Part(NamedTuple):
    """The result of some of an image's samples, or of all."""

    id: bytes
    place: Place
    pixels: np.ndarray | None
    """Kept in the part with the first sample, if pictures were asked for."""
    result: Estimate | str
    """A string says why the model does not take the image."""
    complexity: float | None = None
    """In nats, in the part with the first sample, if it is to be measured."""


class Progress:
    """Counts the samples that this process has scored, to report the progress of a job that runs in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples = 0

    def add(self, samples: int) -> None:
        """Counts `samples` more."""
        with self._lock:
            self._samples += samples

    @property
    def samples(self) -> int:
        """The number so far."""
        return self._samples


PROGRESS = Progress()


class ScoreHandler(ModelHandler[Work, list[Part], Scorer]):
    """Scores batches of Work, each to one list of Parts.

    An element for each part would cost Beam more time than a small model needs to score a row.
    """

    def __init__(
        self, model: ModelSource, *, blocks_together: int, keep_pixels: bool, measure_complexity: bool = False
    ) -> None:
        """Scores `blocks_together` blocks in one call of the model."""
        super().__init__()
        self._model = model
        self._blocks_together = blocks_together
        self._keep_pixels = keep_pixels
        self._measure_complexity = measure_complexity

    def load_model(self) -> Scorer:
        """Opens the model, once in each process; its threads share it."""
        return self._model.open()

    def run_inference(
        self, batch: Sequence[Work], model: Scorer, inference_args: dict[str, Any] | None = None
    ) -> Iterable[list[Part]]:
        """Scores a batch and returns one list, of its parts in order."""
        del inference_args  # The model takes none.
        results = _score(model, [work.block for work in batch])
        PROGRESS.add(sum(work.block.samples for work in batch))
        parts = [self._part(work, result) for work, result in zip(batch, results, strict=True)]
        first = [place for place, work in enumerate(batch) if work.block.first == 0]
        if self._measure_complexity and first:
            sizes = complexity(np.stack([batch[place].block.image for place in first])).tolist()
            for place, size in zip(first, sizes, strict=True):
                parts[place] = parts[place]._replace(complexity=size)
        return [parts]

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Gives all full batches one size, so that a compiled model meets few shapes."""
        return {"min_batch_size": self._blocks_together, "max_batch_size": self._blocks_together}

    def get_num_bytes(self, batch: Sequence[Work]) -> int:
        """Returns the bytes of the images."""
        return sum(work.block.image.nbytes for work in batch)

    def get_metrics_namespace(self) -> str:
        """Names Beam's counters."""
        return "score_batch"

    def _part(self, work: Work, result: Estimate | str) -> Part:
        keep = self._keep_pixels and work.block.first == 0
        return Part(work.block.id, work.place, work.block.image if keep else None, result)


def merge_parts(parts: Iterable[Part]) -> Part:
    """Merges the parts of one image; one that the model refused makes the image refused."""
    first, *others = parts
    everything = [first, *others]
    refusals = [part.result for part in everything if isinstance(part.result, str)]
    result = min(refusals) if refusals else merge_estimates(part.result for part in everything)  # type: ignore[misc]
    pixels = next((part.pixels for part in everything if part.pixels is not None), None)
    size = next((part.complexity for part in everything if part.complexity is not None), None)
    return first._replace(result=result, pixels=pixels, complexity=size)


def _score(scorer: Scorer, batch: Sequence[Block]) -> list[Estimate | str]:
    """Scores a batch; if the model refuses it, its halves, down to the image that it does not take.

    Any other error is the job's: an image must not count as rejected because a server went away.
    """
    try:
        return list(score_blocks(scorer, batch))
    except Refused as error:
        if len(batch) == 1:
            return [str(error)]
    middle = len(batch) // 2
    return _score(scorer, batch[:middle]) + _score(scorer, batch[middle:])
