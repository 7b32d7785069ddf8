"""The contract of TaskPusher: two blessings in, a pushed model out."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.task_pusher import executor


class TaskPusherSpec(ComponentSpec):
    """Channels and execution properties of TaskPusher."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {executor.SERVING_DIR_KEY: ExecutionParameter(type=str)}
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.MODEL_BLESSING_KEY: ChannelParameter(type=standard_artifacts.ModelBlessing),
        standard_component_specs.INFRA_BLESSING_KEY: ChannelParameter(type=standard_artifacts.InfraBlessing),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.PUSHED_MODEL_KEY: ChannelParameter(type=standard_artifacts.PushedModel)
    }


class TaskPusher(BaseComponent):
    """Pushes the model in the infra blessing, which has requests to warm it up, if both blessings say so.

    Our own rather than TFX's Pusher, whose destination is a message: a user who gives it with a run would write JSON,
    and the folder could not follow from the task.

    Outputs:
      pushed_model: `standard_artifacts.PushedModel`, as of TFX's Pusher.
    """

    SPEC_CLASS = TaskPusherSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        serving_dir: str | RuntimeParameter,
    ) -> None:
        """Wires the component.

        Args:
          model_blessing: an evaluator's.
          infra_blessing: ServingCheck's.
          serving_dir: TF Serving's model_base_path, of which the model is a new version; `{task}` in it is the name of
            the model's task.
        """
        super().__init__(
            TaskPusherSpec(
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                serving_dir=serving_dir,
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
