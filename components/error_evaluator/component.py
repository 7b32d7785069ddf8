"""The contract of ErrorEvaluator: a classifier and examples in, a ModelEvaluation and a ModelBlessing out."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.error_evaluator import executor
from components.evaluation import component
from components.evaluation.executor import PUSHED_MODELS_KEY, SPLIT_KEY, TOLERANCE_KEY


class ErrorEvaluatorSpec(ComponentSpec):
    """Channels and execution properties of ErrorEvaluator."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        SPLIT_KEY: ExecutionParameter(type=str, optional=True),
        executor.MAX_ERROR_KEY: ExecutionParameter(type=float),
        TOLERANCE_KEY: ExecutionParameter(type=float),
        PUSHED_MODELS_KEY: ExecutionParameter(type=str, optional=True),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = component.INPUTS
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = component.OUTPUTS


class ErrorEvaluator(BaseBeamComponent):
    """Blesses a classifier by the fraction of a split that it gets wrong.

    Blessed is a model whose every answer is finite, whose error is at most `max_error` and, where there is a comparable
    baseline, at most `tolerance` above that model's on the same examples. A baseline of another data set, binarisation
    or image shape is not comparable: it is ignored, and the report says why.

    Our own rather than TFX's Evaluator, so that both kinds of model are judged alike: with the confidence of every
    number, by class, and paired with the baseline.

    Outputs:
      evaluation: `standard_artifacts.ModelEvaluation` with evaluation.json and report.md.
      blessing: `standard_artifacts.ModelBlessing` as Pusher and LatestBlessedModelStrategy read it.
    """

    SPEC_CLASS = ErrorEvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        max_error: float | RuntimeParameter,
        tolerance: float | RuntimeParameter,
        split: str | None = None,
        baseline_model: types.BaseChannel | None = None,
        pushed_models: str | RuntimeParameter | None = None,
    ) -> None:
        """Wires the component.

        Args:
          examples: of our contract, with labels.
          model: a SavedModel with the signature `classify_examples`.
          max_error: greatest error of a blessed model, a fraction of the examples; TASK_DEFAULT for the task's.
          tolerance: by how much the error may be above the baseline's, a fraction; TASK_DEFAULT likewise.
          split: of the examples; None for the one on which the model's task decides.
          baseline_model: the last blessed model; the channel may be empty.
          pushed_models: TF Serving's model_base_path, in place of `baseline_model` where an orchestrator cannot look
            that up, as Kubeflow Pipelines cannot: the baseline is then the latest version there other than the model
            itself. It may be empty, or not there yet; `""` for no baseline. `{task}` in it is the name of the model's
            task. No cache looks into it: a verdict that an orchestrator has stands, whatever was pushed since, and so a
            model is pushed once.

        Raises ValueError where both of the last two are given.
        """
        component.check_one_baseline(baseline_model, pushed_models)
        super().__init__(
            ErrorEvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                split=split,
                max_error=component.number(max_error),
                tolerance=component.number(tolerance),
                pushed_models=pushed_models,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
