"""TaskPusher: two blessings in, a pushed model out."""

from __future__ import annotations

from typing import Any, ClassVar

from tfx import types
from tfx.components.pusher import executor as pusher
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import proto_utils

from components.model_artifact import address_for

SERVING_DIR_KEY = "serving_dir"


class Executor(pusher.Executor):
    """Gives TFX's executor the destination as the message that it takes."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model to `serving_dir` if both blessings allow it."""
        serving_dir = exec_properties[SERVING_DIR_KEY]
        # A blessing that was refused holds no model.
        if self.CheckBlessing(input_dict):
            serving_dir = address_for(serving_dir, self.GetModelPath(input_dict))
        destination = pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_dir)
        )
        properties = {standard_component_specs.PUSH_DESTINATION_KEY: proto_utils.proto_to_json(destination)}
        super().Do(input_dict, output_dict, properties)


class TaskPusherSpec(ComponentSpec):
    """Channels and execution properties of TaskPusher."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {SERVING_DIR_KEY: ExecutionParameter(type=str)}
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.MODEL_BLESSING_KEY: ChannelParameter(type=standard_artifacts.ModelBlessing),
        standard_component_specs.INFRA_BLESSING_KEY: ChannelParameter(type=standard_artifacts.InfraBlessing),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.PUSHED_MODEL_KEY: ChannelParameter(type=standard_artifacts.PushedModel)
    }


class TaskPusher(BaseComponent):
    """Pushes the model in the infra blessing, which has warm-up requests, if both blessings allow it.

    The destination of TFX's Pusher is a message: a user who chooses it for a run would write JSON, and the folder could
    not follow from the task.

    Outputs:
      pushed_model: `standard_artifacts.PushedModel`, as TFX's Pusher writes it.
    """

    SPEC_CLASS = TaskPusherSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

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
          serving_dir: TF Serving's model_base_path, in which the model becomes a new version; `{task}` in it is
            replaced by the name of the model's task.
        """
        super().__init__(
            TaskPusherSpec(
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                serving_dir=serving_dir,
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
