"""TaskPusher: two blessings in, a pushed model out."""

from __future__ import annotations

import os

from tfx.components.pusher import executor as pusher
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.utils import io_utils, proto_utils

from components.declared_component import Artifacts, DeclaredComponent, Properties
from components.evaluator.gate import pushed_already
from components.model_artifact import address_for


class Executor(pusher.Executor):
    """Gives TFX's executor the destination as the message that it takes."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        """Pushes the model to `serving_dir` if both blessings allow it."""
        serving_dir = exec_properties["serving_dir"]
        # A blessing that was refused holds no model.
        if self.CheckBlessing(input_dict):
            model_dir = self.GetModelPath(input_dict)
            serving_dir = address_for(serving_dir, model_dir)
            # A run whose model comes from a cache ends here too, and servers need no second version of it.
            if version := pushed_already(serving_dir, model_dir):
                pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
                io_utils.copy_dir(model_dir, pushed.uri)
                self._MarkPushed(pushed, pushed_destination=version, pushed_version=os.path.basename(version))
                return
        destination = pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving_dir)
        )
        properties = {standard_component_specs.PUSH_DESTINATION_KEY: proto_utils.proto_to_json(destination)}
        super().Do(input_dict, output_dict, properties)


class TaskPusher(
    DeclaredComponent,
    executor=Executor,
    inputs={"model_blessing": standard_artifacts.ModelBlessing, "infra_blessing": standard_artifacts.InfraBlessing},
    properties={"serving_dir": str},
    outputs={"pushed_model": standard_artifacts.PushedModel},
):
    """Pushes the model in the infra blessing, which has warm-up requests, if both blessings allow it.

    If its content is that of the latest version, that one stays, and is what `pushed_model` names.

    The destination of TFX's Pusher is a message: a user who chooses it for a run would write JSON, and the folder could
    not follow from the task.

    Args:
      model_blessing: an evaluator's.
      infra_blessing: ServingCheck's.
      serving_dir: TF Serving's model_base_path, in which the model becomes a new version; `{task}` in it is replaced by
        the name of the model's task.

    Outputs:
      pushed_model: `standard_artifacts.PushedModel`, as TFX's Pusher writes it.
    """
