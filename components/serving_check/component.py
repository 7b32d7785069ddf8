"""The contract of ServingCheck: a model and examples in, an InfraBlessing out."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.serving_check import executor


class ServingCheckSpec(ComponentSpec):
    """Channels and execution properties of ServingCheck."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        executor.SPLIT_KEY: ExecutionParameter(type=str, optional=True),
        executor.TIMEOUT_SECONDS_KEY: ExecutionParameter(type=int),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        standard_component_specs.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.BLESSING_KEY: ChannelParameter(type=standard_artifacts.InfraBlessing),
    }


class ServingCheck(BaseComponent):
    """Blesses a model that a fresh process with TensorFlow alone can load and ask real requests.

    A model that fails is not blessed, and Pusher leaves it; the execution itself succeeds. Our own rather than TFX's
    InfraValidator, which starts its server in docker or Kubernetes only, and which KubeflowV2DagRunner refuses together
    with any subclass.

    Outputs:
      blessing: `standard_artifacts.InfraBlessing` as Pusher reads it, with check.log and, of a model that passed, a
        copy of it with requests to warm it up. A Pusher that is given no model pushes that copy.
    """

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        split: str | None = None,
        timeout_seconds: int | RuntimeParameter = 600,
    ) -> None:
        """Wires the component.

        Args:
          model: a SavedModel with the signatures `sample`, `score` and `score_examples`.
          examples: of our contract; a few of them are the requests.
          split: of the examples; None for the one on which the model's task decides.
          timeout_seconds: within which the model has to be loaded and have answered.
        """
        super().__init__(
            ServingCheckSpec(
                model=model,
                examples=examples,
                split=split,
                timeout_seconds=timeout_seconds,
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
