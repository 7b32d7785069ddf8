"""Beam code that scores tf.Examples with a SavedModel's `score_examples` and summarises the scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.utils.shared import Shared

from components.bound_evaluator.moments import Moments, Summary, merge_summaries

SIGNATURE = "score_examples"
METRICS = ("nll_bound", "reconstruction", "kl")
"""Outputs of the signature with one number an example, in nats."""
KL_PER_STEP = "kl_per_step"
LOG_WEIGHT = "log_weight"
BASELINE_BOUND = "baseline_nll_bound"
DIFFERENCE = "nll_bound_minus_baseline"
"""Paired: of the same example, scored with the same noise."""

OVERALL = "overall"
"""The slice of all examples; the others are called by their label."""


class ScoreSplit(beam.PTransform):
    """Serialised tf.Examples in; (slice, Summary) out: one of `OVERALL` and, where there are labels, one a class.

    Args:
      model_dir: of the SavedModel to score.
      baseline_dir: of the SavedModel to compare it with, or None.
      batch_size: examples in a request. The signature's rows do not depend on each other, so it changes the speed only.
    """

    def __init__(self, *, model_dir: str, baseline_dir: str | None, batch_size: int) -> None:
        super().__init__()
        self._score_batch = _ScoreBatch(model_dir, baseline_dir)
        self._batch_size = batch_size

    def expand(self, examples: beam.PCollection) -> beam.PCollection:
        """One size for all full batches, so that a compiled model meets few shapes."""
        return (
            examples
            | "Batch" >> beam.BatchElements(min_batch_size=self._batch_size, max_batch_size=self._batch_size)
            | "Score" >> beam.ParDo(self._score_batch)
            | "Summarise" >> beam.CombinePerKey(merge_summaries)
        )


class _Scorer:
    """The signature `score_examples` of one SavedModel."""

    def __init__(self, model_dir: str) -> None:
        self._model_dir = model_dir
        # The model owns the variables that the signature uses, so it has to live as long.
        self._model = tf.saved_model.load(model_dir)
        signatures = self._model.signatures
        if SIGNATURE not in signatures:
            raise ValueError(
                f"The SavedModel {model_dir} has no signature {SIGNATURE!r}, only {sorted(signatures)}. "
                "Export the model with the signatures of our contract."
            )
        self._signature = signatures[SIGNATURE]
        inputs = self._signature.structured_input_signature[1]
        if len(inputs) != 1:
            raise ValueError(
                f"{SIGNATURE!r} of {model_dir} takes {sorted(inputs)}; expected one input, serialised tf.Examples [n]."
            )
        (self._input,) = inputs
        missing = {*METRICS, KL_PER_STEP, LOG_WEIGHT} - set(self._signature.structured_outputs)
        if missing:
            raise ValueError(
                f"{SIGNATURE!r} of {model_dir} lacks the outputs {sorted(missing)}; it gives "
                f"{sorted(self._signature.structured_outputs)}."
            )

    def score(self, examples: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Each output in float64, one row an example: [n], and [n, T] for `kl_per_step`. Nats."""
        outputs = self._signature(**{self._input: tf.constant(examples, tf.string)})
        scores = {}
        for name in (*METRICS, KL_PER_STEP, LOG_WEIGHT):
            values = outputs[name].numpy().astype(np.float64)
            rank = 2 if name == KL_PER_STEP else 1
            if values.ndim != rank or len(values) != len(examples):
                raise ValueError(
                    f"{SIGNATURE!r} of {self._model_dir} gave {name} of shape {values.shape} for {len(examples)} "
                    f"examples; expected {'[n, T]' if rank == 2 else '[n]'}."
                )
            scores[name] = values
        return scores


@dataclasses.dataclass(frozen=True)
class _Scorers:
    """Both models in one object, because a Beam stage keeps only one shared object alive."""

    model: _Scorer
    baseline: _Scorer | None


class _ScoreBatch(beam.DoFn):
    def __init__(self, model_dir: str, baseline_dir: str | None) -> None:
        self._model_dir = model_dir
        self._baseline_dir = baseline_dir
        # Loaded once in each worker process and shared by its threads: a model may be larger than a thread's share.
        self._shared = Shared()

    def setup(self) -> None:
        self._scorers = self._shared.acquire(self._load)

    def process(self, examples: Sequence[bytes]) -> Iterator[tuple[str, Summary]]:
        scores = self._scorers.model.score(examples)
        if self._scorers.baseline is not None:
            baseline = self._scorers.baseline.score(examples)["nll_bound"]
            with np.errstate(invalid="ignore"):
                scores = {**scores, BASELINE_BOUND: baseline, DIFFERENCE: scores["nll_bound"] - baseline}
        yield OVERALL, _summary(scores)
        labels = np.array([_label(example) for example in examples])
        for label in set(labels) - {None}:
            rows = labels == label
            yield str(label), _summary({name: values[rows] for name, values in scores.items()})

    def _load(self) -> _Scorers:
        return _Scorers(_Scorer(self._model_dir), None if self._baseline_dir is None else _Scorer(self._baseline_dir))


def _summary(scores: dict[str, np.ndarray]) -> Summary:
    return {name: Moments.of(values) for name, values in scores.items()}


def _label(serialised: bytes) -> int | None:
    features = tf.train.Example.FromString(serialised).features.feature
    # Asked with `in`: indexing a protobuf map would add what is missing.
    return features["label"].int64_list.value[0] if "label" in features else None
