"""Beam code that scores tf.Examples with a model, and maybe its baseline, and summarises the scores by slice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.utils.shared import Shared

from components.evaluation.moments import Moments, Summary, merge_summaries

OVERALL = "overall"
"""The slice of all examples; the others are called by their label."""

Scores = dict[str, np.ndarray]
Score = Callable[[Sequence[bytes]], Scores]
"""Serialised tf.Examples to quantities in float64, a row an example."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scoring:
    """How the models of one kind are scored. Travels to Beam's workers."""

    load: Callable[[str], Score]
    """From the folder of a SavedModel. A function of a module, so that it can be pickled."""
    compared: str
    """The quantity by which a model is compared with its baseline."""

    @property
    def baseline(self) -> str:
        """The same quantity of the baseline."""
        return f"baseline_{self.compared}"

    @property
    def difference(self) -> str:
        """Paired: of the same example, scored with the same noise where there is any."""
        return f"{self.compared}_minus_baseline"


class ScoreSplit(beam.PTransform):
    """Serialised tf.Examples in; (slice, Summary) out: one of `OVERALL` and, where there are labels, one a class.

    Args:
      scoring: of the models' kind.
      model_dir: of the SavedModel to score.
      baseline_dir: of the SavedModel to compare it with, or None.
      batch_size: examples in a request. The signature's rows do not depend on each other, so it changes the speed only.
    """

    def __init__(self, scoring: Scoring, *, model_dir: str, baseline_dir: str | None, batch_size: int) -> None:
        super().__init__()
        self._score_batch = _ScoreBatch(scoring, model_dir, baseline_dir)
        self._batch_size = batch_size

    def expand(self, examples: beam.PCollection) -> beam.PCollection:
        """One size for all full batches, so that a compiled model meets few shapes."""
        return (
            examples
            | "Batch" >> beam.BatchElements(min_batch_size=self._batch_size, max_batch_size=self._batch_size)
            | "Score" >> beam.ParDo(self._score_batch)
            | "Summarise" >> beam.CombinePerKey(merge_summaries)
        )


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """Both models in one object, because a Beam stage keeps only one shared object alive."""

    model: Score
    baseline: Score | None


class _ScoreBatch(beam.DoFn):
    def __init__(self, scoring: Scoring, model_dir: str, baseline_dir: str | None) -> None:
        self._scoring = scoring
        self._model_dir = model_dir
        self._baseline_dir = baseline_dir
        # Loaded once in each worker process and shared by its threads: a model may be larger than a thread's share.
        self._shared = Shared()

    def setup(self) -> None:
        self._loaded = self._shared.acquire(self._load)

    def process(self, examples: Sequence[bytes]) -> Iterator[tuple[str, Summary]]:
        scores = self._loaded.model(examples)
        if self._loaded.baseline is not None:
            compared = self._scoring.compared
            baseline = self._loaded.baseline(examples)[compared]
            with np.errstate(invalid="ignore"):
                difference = scores[compared] - baseline
            scores = {**scores, self._scoring.baseline: baseline, self._scoring.difference: difference}
        yield OVERALL, _summary(scores)
        labels = np.array([label_of(example) for example in examples])
        for label in set(labels) - {None}:
            rows = labels == label
            yield str(label), _summary({name: values[rows] for name, values in scores.items()})

    def _load(self) -> _Loaded:
        load = self._scoring.load
        return _Loaded(load(self._model_dir), None if self._baseline_dir is None else load(self._baseline_dir))


def label_of(serialised: bytes) -> int | None:
    """The label of a tf.Example, None where it has none."""
    features = tf.train.Example.FromString(serialised).features.feature
    # Asked with `in`: indexing a protobuf map would add what is missing.
    return features["label"].int64_list.value[0] if "label" in features else None


def _summary(scores: Scores) -> Summary:
    return {name: Moments.of(values) for name, values in scores.items()}
