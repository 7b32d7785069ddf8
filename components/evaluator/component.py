"""BoundEvaluator and ErrorEvaluator: a model and examples in, a ModelEvaluation and a ModelBlessing out."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts

from components.declared_component import DeclaredBeamComponent
from components.evaluator.executor import BoundExecutor, ErrorExecutor
from components.evaluator.pushed_versions import PushedVersions
from components.model_artifact import SPLIT_KEY
from trainer.task import CLASSIFIER, GENERATIVE

_INPUTS = {
    "examples": standard_artifacts.Examples,
    "model": standard_artifacts.Model,
    "baseline_model": standard_artifacts.Model,
    "pushed_versions": PushedVersions,
}
_PROPERTIES = {SPLIT_KEY: str, "tolerance": float, "pushed_models": str}
_OUTPUTS = {"evaluation": standard_artifacts.ModelEvaluation, "blessing": standard_artifacts.ModelBlessing}
_DEFAULTS = {"baseline_model": None, "pushed_versions": None, SPLIT_KEY: None, "pushed_models": None}


class _Evaluator(DeclaredBeamComponent):
    """Blesses a model that keeps to a limit and is not worse than its baseline; a subclass names the limit.

    Args:
      baseline_model: the last blessed model; the channel may be empty.
      pushed_models: TF Serving's model_base_path, for orchestrators that cannot look up `baseline_model`, such as
        Kubeflow Pipelines. The baseline is then the latest version there whose content is not that of the model itself.
        The folder may be empty or missing; `""` for no baseline. `{task}` in it is replaced by the name of the model's
        task.
      pushed_versions: what was in that folder when the run began, by which a cache sees that it has changed.
      examples: tf.Examples of our contract.
      model: the SavedModel to judge.
      tolerance: how much worse than the baseline's the metric may be, in the metric's unit; TASK_DEFAULT for the value
        of the model's task.
      split: the split to score; None for the one that the model's task names.

    Raises:
      ValueError: if both `baseline_model` and `pushed_models` are given.
    """

    def __init__(
        self,
        *,
        baseline_model: types.BaseChannel | None = None,
        pushed_models: str | RuntimeParameter | None = None,
        **others: Any,
    ) -> None:
        if baseline_model is not None and pushed_models is not None:
            raise ValueError("Both baseline_model and pushed_models are given; expected one of them, for one baseline.")
        super().__init__(baseline_model=baseline_model, pushed_models=pushed_models, **others)


class BoundEvaluator(
    _Evaluator,
    executor=BoundExecutor,
    inputs=_INPUTS,
    properties={**_PROPERTIES, GENERATIVE.limit: float},
    outputs=_OUTPUTS,
    defaults=_DEFAULTS,
):
    """Blesses a generative model by its bound on -log p(x), the mean over a split, in nats an image.

    A model is blessed if every score is finite, the bound is at most `max_nll_bound` and, where there is a comparable
    baseline, at most `tolerance` above the baseline's on the same examples with the same noise. A baseline of another
    data set, binarisation or image shape is not comparable: it is ignored, and the report says why.

    TFX's Evaluator compares predictions with labels: a bound has no label, and TFMA's mean of it would have neither a
    standard error nor a paired comparison.

    Args beside those of every evaluator:
      model: has the signature `score_examples`.
      max_nll_bound: the greatest bound of a blessed model, in nats an image; TASK_DEFAULT for the value of the model's
        task.

    Outputs:
      evaluation: `standard_artifacts.ModelEvaluation` with evaluation.json and report.md.
      blessing: `standard_artifacts.ModelBlessing` as Pusher and LatestBlessedModelStrategy read it.
    """


class ErrorEvaluator(
    _Evaluator,
    executor=ErrorExecutor,
    inputs=_INPUTS,
    properties={**_PROPERTIES, CLASSIFIER.limit: float},
    outputs=_OUTPUTS,
    defaults=_DEFAULTS,
):
    """Blesses a classifier by the fraction of a split that it gets wrong.

    A model is blessed if every answer is finite, the error is at most `max_error` and, where there is a comparable
    baseline, at most `tolerance` above the baseline's on the same examples. Baselines and outputs are as with
    BoundEvaluator, so that both kinds of model are judged alike: with the confidence of every number, by class, and
    paired with the baseline.

    Args beside those of every evaluator:
      model: has the signature `classify_examples`.
      examples: have labels.
      max_error: the greatest error of a blessed model, a fraction of the examples; TASK_DEFAULT for the value of the
        model's task.
    """
