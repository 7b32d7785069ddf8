"""The contract of SplitScorer: a model and examples in, the scores of one split out."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.split_scorer import executor


class SplitScorerSpec(ComponentSpec):
    """Channels and execution properties of SplitScorer."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        executor.SPLIT_KEY: ExecutionParameter(type=str, optional=True),
        executor.SAMPLES_KEY: ExecutionParameter(type=int),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
        standard_component_specs.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        executor.SCORES_KEY: ChannelParameter(type=standard_artifacts.InferenceResult),
    }


class SplitScorer(BaseBeamComponent):
    """Scores every image of a split with so many samples of the noise.

    Our own rather than TFX's BulkInferrer, which calls a signature once an example: an importance-weighted bound takes
    many calls, each with a seed of its own, and one row of numbers comes of them.

    Outputs:
      scores: `standard_artifacts.InferenceResult` with scores-*.parquet and summary.json, as `draw score-batch` writes.
    """

    SPEC_CLASS = SplitScorerSpec
    EXECUTOR_SPEC = BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        samples: int | RuntimeParameter,
        split: str | None = None,
    ) -> None:
        """Wires the component.

        Args:
          examples: of our contract.
          model: a SavedModel with the signature `score`.
          samples: of each image.
          split: of the examples; None for the one on which the model's task decides.
        """
        super().__init__(
            SplitScorerSpec(
                examples=examples,
                model=model,
                split=split,
                samples=samples,
                scores=types.Channel(type=standard_artifacts.InferenceResult),
            )
        )
