"""Scores tf.Examples in Beam with a model, and with its baseline if there is one, and summarises the scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np
from apache_beam.utils.shared import Shared

from components.evaluator.moments import Moments, Summary, merge_summaries
from serving.images.example_features import ExampleFeatures
from serving.saved_model import SavedModel
from trainer.task import CLASSIFIER, GENERATIVE, Kind

OVERALL = "overall"
"""The slice of all examples; every other slice has the name of its label."""

PARTS = ("nll_bound", "reconstruction", "kl")
"""The bound and the two terms that it is the sum of, one number an example, in nats."""
KL_PER_STEP = "kl_per_step"
ERROR = "error"
"""1 for an example whose most probable class is not its label, else 0."""
CROSS_ENTROPY = "cross_entropy"
"""-log of the label's probability, in nats."""

Scores = dict[str, np.ndarray]
Score = Callable[[Sequence[bytes]], Scores]
"""Serialised tf.Examples to scores by their names, float64 with a row an example."""


def load_bound(model_dir: str) -> Score:
    """Loads a generative model, which scores in nats: [n] each, and [n, T] for `kl_per_step`."""
    outputs = {**dict.fromkeys((*PARTS, "log_weight"), "[n]"), KL_PER_STEP: "[n, T]"}
    call = _load_signature(model_dir, "score_examples", outputs)

    def score(examples: Sequence[bytes]) -> Scores:
        return {name: values.astype(np.float64) for name, values in call(examples).items()}

    return score


def load_error(model_dir: str) -> Score:
    """Loads a classifier, which scores ERROR and CROSS_ENTROPY, [n] each, NaN for an answer that holds one.

    The scoring function raises ValueError for an example without a label, or with one that the model has no class for.
    """
    outputs = {"classes": "[n, classes]", "scores": "[n, classes]"}
    call = _load_signature(model_dir, "classify_examples", outputs)

    def score(examples: Sequence[bytes]) -> Scores:
        answer = call(examples)
        classes, probabilities = answer["classes"].astype(str), answer["scores"].astype(np.float64)
        labels = np.array([str(ExampleFeatures(example).label) for example in examples])
        is_label = classes == labels[:, None]
        if not (is_label.sum(axis=1) == 1).all():
            unknown = np.unique(labels[is_label.sum(axis=1) != 1]).tolist()
            raise ValueError(
                f"Labels {unknown} are none of the classes of {model_dir}, {np.unique(classes).tolist()}. Evaluate on "
                "examples of the data set that the model was trained on."
            )
        finite = np.isfinite(probabilities).all(axis=1)
        wrong = ~is_label[np.arange(len(examples)), probabilities.argmax(axis=1)]
        with np.errstate(divide="ignore"):
            cross_entropy = -np.log(probabilities[is_label])
        return {
            ERROR: np.where(finite, wrong, np.nan),
            # A probability that is 0 in float32 is at most the smallest number that float32 has.
            CROSS_ENTROPY: np.minimum(cross_entropy, -np.log(np.finfo(np.float32).smallest_subnormal)),
        }

    return score


def _load_signature(
    model_dir: str, name: str, outputs: Mapping[str, str]
) -> Callable[[Sequence[bytes]], dict[str, np.ndarray]]:
    """Loads a signature of serialised tf.Examples; raises ValueError if it is not there or lacks an output."""
    signature = SavedModel(model_dir).signature(name)
    signature.require_outputs(*outputs)
    only_input = signature.only_input
    return lambda examples: signature.call({only_input: np.array(examples, object)}, outputs=outputs)


_LOADERS: dict[Kind, Callable[[str], Score]] = {GENERATIVE: load_bound, CLASSIFIER: load_error}


@beam.ptransform_fn
def ScoreSplit(
    examples: beam.PCollection, kind: Kind, *, model_dir: str, baseline_dir: str | None, batch_size: int
) -> beam.PCollection:
    """Turns serialised tf.Examples into pairs (slice, Summary): OVERALL and, where there are labels, one a class.

    Args:
      examples: the serialised tf.Examples.
      kind: of the models.
      model_dir: the SavedModel to score.
      baseline_dir: the SavedModel to compare it with, or None.
      batch_size: examples in a call, so that a compiled model meets few shapes. Rows do not depend on each other, so it
        changes the speed only.
    """
    return (
        examples
        | "Batch" >> beam.BatchElements(min_batch_size=batch_size, max_batch_size=batch_size)
        | "Score" >> beam.ParDo(_ScoreBatch(kind, model_dir, baseline_dir))
        | "Summarise" >> beam.CombinePerKey(merge_summaries)
    )


@dataclasses.dataclass(frozen=True)
class _Models:
    """Model and baseline in one object, because a Beam stage keeps only one shared object alive."""

    model: Score
    baseline: Score | None


class _ScoreBatch(beam.DoFn):
    def __init__(self, kind: Kind, model_dir: str, baseline_dir: str | None) -> None:
        self._kind = kind
        self._model_dir = model_dir
        self._baseline_dir = baseline_dir
        # Loaded once in each worker process and shared by its threads: a model may be larger than a thread's share.
        self._shared = Shared()

    def setup(self) -> None:
        self._models = self._shared.acquire(self._load)

    def process(self, examples: Sequence[bytes]) -> Iterator[tuple[str, Summary]]:
        scores = self._models.model(examples)
        if self._models.baseline is not None:
            metric = self._kind.metric
            baseline = self._models.baseline(examples)[metric]
            with np.errstate(invalid="ignore"):
                difference = scores[metric] - baseline
            scores = {**scores, self._kind.baseline_metric: baseline, self._kind.metric_difference: difference}
        yield OVERALL, _summary(scores)
        labels = np.array([ExampleFeatures(example).label for example in examples])
        for label in set(labels) - {None}:
            rows = labels == label
            yield str(label), _summary({name: values[rows] for name, values in scores.items()})

    def _load(self) -> _Models:
        load = _LOADERS[self._kind]
        return _Models(load(self._model_dir), None if self._baseline_dir is None else load(self._baseline_dir))


def _summary(scores: Scores) -> Summary:
    return {name: Moments.from_values(values) for name, values in scores.items()}
