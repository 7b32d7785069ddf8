"""Executor of TaskPusher: TFX's own, with the destination as it takes it."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.pusher import executor as pusher
from tfx.proto import pusher_pb2
from tfx.types import standard_component_specs
from tfx.utils import proto_utils

from components import exported_task

SERVING_DIR_KEY = "serving_dir"


class Executor(pusher.Executor):
    """Pushes, or leaves it."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """As TFX's, of a filesystem; `serving_dir` may have `{task}` in it."""
        serving_dir = exec_properties[SERVING_DIR_KEY]
        # A blessing that was refused holds no model.
        if self.CheckBlessing(input_dict):
            serving_dir = exported_task.address_for(serving_dir, self.GetModelPath(input_dict))
        destination = pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_dir)
        )
        properties = {standard_component_specs.PUSH_DESTINATION_KEY: proto_utils.proto_to_json(destination)}
        super().Do(input_dict, output_dict, properties)
