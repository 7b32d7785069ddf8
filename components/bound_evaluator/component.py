"""The contract of BoundEvaluator: a model and examples in, a ModelEvaluation and a ModelBlessing out."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.bound_evaluator import executor
from components.evaluation import component
from components.evaluation.executor import PUSHED_MODELS_KEY, SPLIT_KEY, TOLERANCE_KEY


class BoundEvaluatorSpec(ComponentSpec):
    """Channels and execution properties of BoundEvaluator."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        SPLIT_KEY: ExecutionParameter(type=str, optional=True),
        executor.MAX_NLL_BOUND_KEY: ExecutionParameter(type=float),
        TOLERANCE_KEY: ExecutionParameter(type=float),
        PUSHED_MODELS_KEY: ExecutionParameter(type=str, optional=True),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = component.INPUTS
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = component.OUTPUTS


class BoundEvaluator(BaseBeamComponent):
    """Blesses a model by its bound on -log p(x), the mean over a split, in nats an image.

    Blessed is a model whose every score is finite, whose bound is at most `max_nll_bound` and, where there is a
    comparable baseline, at most `tolerance` above that model's on the same examples with the same noise. A baseline of
    another data set, binarisation or image shape is not comparable: it is ignored, and the report says why.

    Our own rather than TFX's Evaluator, which knows predictions against labels: a bound has no label, and TFMA's mean
    of it would have neither a standard error nor a paired comparison.

    Outputs:
      evaluation: `standard_artifacts.ModelEvaluation` with evaluation.json and report.md.
      blessing: `standard_artifacts.ModelBlessing` as Pusher and LatestBlessedModelStrategy read it.
    """

    SPEC_CLASS = BoundEvaluatorSpec
    EXECUTOR_SPEC = BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        max_nll_bound: float | RuntimeParameter,
        tolerance: float | RuntimeParameter,
        split: str | None = None,
        baseline_model: types.BaseChannel | None = None,
        pushed_models: str | RuntimeParameter | None = None,
    ) -> None:
        """Wires the component.

        Args:
          examples: of our contract.
          model: a SavedModel with the signature `score_examples`.
          max_nll_bound: greatest bound of a blessed model, in nats an image; TASK_DEFAULT for the task's.
          tolerance: by how much the bound may be above the baseline's, in nats an image; TASK_DEFAULT likewise.
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
            BoundEvaluatorSpec(
                examples=examples,
                model=model,
                baseline_model=baseline_model,
                split=split,
                max_nll_bound=component.number(max_nll_bound),
                tolerance=component.number(tolerance),
                pushed_models=pushed_models,
                evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
