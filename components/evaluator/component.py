"""BoundEvaluator and ErrorEvaluator: a model and examples in, a ModelEvaluation and a ModelBlessing out."""

from __future__ import annotations

from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.evaluator.executor import (
    PUSHED_MODELS_KEY,
    TOLERANCE_KEY,
    BoundExecutor,
    ErrorExecutor,
)
from components.model_artifact import SPLIT_KEY
from trainer.task import CLASSIFIER, GENERATIVE


class _EvaluatorSpec(ComponentSpec):
    """Channels and execution properties of every evaluator; a subclass adds the property that is its limit."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        SPLIT_KEY: ExecutionParameter(type=str, optional=True),
        TOLERANCE_KEY: ExecutionParameter(type=float),
        PUSHED_MODELS_KEY: ExecutionParameter(type=str, optional=True),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
        standard_component_specs.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        standard_component_specs.BASELINE_MODEL_KEY: ChannelParameter(type=standard_artifacts.Model, optional=True),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.EVALUATION_KEY: ChannelParameter(type=standard_artifacts.ModelEvaluation),
        standard_component_specs.BLESSING_KEY: ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class _Evaluator(BaseBeamComponent):
    """Blesses a model that keeps to a limit and is not worse than its baseline; a subclass names the limit."""

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        tolerance: float | RuntimeParameter,
        split: str | None = None,
        baseline_model: types.BaseChannel | None = None,
        pushed_models: str | RuntimeParameter | None = None,
        **limit: float | RuntimeParameter,
    ) -> None:
        """Wires the component.

        Args:
          examples: tf.Examples of our contract.
          model: the SavedModel to judge.
          tolerance: how much worse than the baseline's the metric may be, in the metric's unit; TASK_DEFAULT for the
            value of the model's task.
          split: the split to score; None for the one that the model's task names.
          baseline_model: the last blessed model; the channel may be empty.
          pushed_models: TF Serving's model_base_path, for orchestrators that cannot look up `baseline_model`, such as
            Kubeflow Pipelines. The baseline is then the latest version there whose content is not that of the model
            itself. The folder may be empty or missing; `""` for no baseline. `{task}` in it is replaced by the name of
            the model's task. A cache does not look into the folder: a cached verdict stands, whatever was pushed since.
          **limit: the greatest value of the metric of a blessed model, under the limit's own name.

        Raises:
          ValueError: if both `baseline_model` and `pushed_models` are given.
        """
        if baseline_model is not None and pushed_models is not None:
            raise ValueError("Both baseline_model and pushed_models are given; expected one of them, for one baseline.")
        super().__init__(
            self.SPEC_CLASS(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                split=split,
                tolerance=_as_float(tolerance),
                pushed_models=pushed_models,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
                **{name: _as_float(value) for name, value in limit.items()},
            )
        )


class BoundEvaluatorSpec(_EvaluatorSpec):
    """Channels and execution properties of BoundEvaluator."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        **_EvaluatorSpec.PARAMETERS,
        GENERATIVE.limit: ExecutionParameter(type=float),
    }


class BoundEvaluator(_Evaluator):
    """Blesses a generative model by its bound on -log p(x), the mean over a split, in nats an image.

    A model is blessed if every score is finite, the bound is at most `max_nll_bound` and, where there is a comparable
    baseline, at most `tolerance` above the baseline's on the same examples with the same noise. A baseline of another
    data set, binarisation or image shape is not comparable: it is ignored, and the report says why.

    TFX's Evaluator compares predictions with labels: a bound has no label, and TFMA's mean of it would have neither a
    standard error nor a paired comparison.

    Inputs:
      model: a SavedModel with the signature `score_examples`.
    Outputs:
      evaluation: `standard_artifacts.ModelEvaluation` with evaluation.json and report.md.
      blessing: `standard_artifacts.ModelBlessing` as Pusher and LatestBlessedModelStrategy read it.
    """

    SPEC_CLASS = BoundEvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorSpec(BoundExecutor)

    def __init__(self, *, max_nll_bound: float | RuntimeParameter, **common: Any) -> None:
        """Wires the component.

        Args:
          max_nll_bound: the greatest bound of a blessed model, in nats an image; TASK_DEFAULT for the value of the
            model's task.
          **common: the arguments of every evaluator, see `_Evaluator`; `tolerance` is in nats an image.
        """
        super().__init__(max_nll_bound=max_nll_bound, **common)


class ErrorEvaluatorSpec(_EvaluatorSpec):
    """Channels and execution properties of ErrorEvaluator."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        **_EvaluatorSpec.PARAMETERS,
        CLASSIFIER.limit: ExecutionParameter(type=float),
    }


class ErrorEvaluator(_Evaluator):
    """Blesses a classifier by the fraction of a split that it gets wrong.

    A model is blessed if every answer is finite, the error is at most `max_error` and, where there is a comparable
    baseline, at most `tolerance` above the baseline's on the same examples. Baselines and outputs are as with
    BoundEvaluator, so that both kinds of model are judged alike: with the confidence of every number, by class, and
    paired with the baseline.

    Inputs:
      model: a SavedModel with the signature `classify_examples`.
      examples: with labels.
    """

    SPEC_CLASS = ErrorEvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorSpec(ErrorExecutor)

    def __init__(self, *, max_error: float | RuntimeParameter, **common: Any) -> None:
        """Wires the component.

        Args:
          max_error: the greatest error of a blessed model, a fraction of the examples; TASK_DEFAULT for the value of
            the model's task.
          **common: the arguments of every evaluator, see `_Evaluator`; `tolerance` is a fraction of the examples.
        """
        super().__init__(max_error=max_error, **common)


def _as_float(value: float | RuntimeParameter) -> float | RuntimeParameter:
    """Converts whole numbers, which TFX refuses as floats."""
    return value if isinstance(value, RuntimeParameter) else float(value)
