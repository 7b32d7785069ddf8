"""Executor of TaskTrainer: TFX's own, with its arguments made from the task."""

from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.components.trainer.executor import GenericExecutor
from tfx.proto import trainer_pb2
from tfx.types import standard_component_specs
from tfx.utils import proto_utils

from trainer import tasks

TASK_KEY = "task"
STEPS_KEY = "steps"
TRAIN_EXAMPLES_KEY = "train_examples"
CHECKPOINT_ROOT_KEY = "checkpoint_root"
INITIAL_STATE_KEY = "initial_state"


class Executor(GenericExecutor):
    """Calls `run_fn`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Trains on `examples` and writes `model` and `model_run`. Raises ValueError for a task that there is not."""
        super().Do(input_dict, output_dict, trainer_properties(exec_properties))


def trainer_properties(exec_properties: dict[str, Any]) -> dict[str, Any]:
    """The properties of TFX's Trainer."""
    task = tasks.resolve(
        exec_properties[TASK_KEY],
        steps=int(exec_properties[STEPS_KEY]),
        train_examples=int(exec_properties[TRAIN_EXAMPLES_KEY]),
    )
    custom_config: dict[str, Any] = {"task": task.to_json(), "checkpoint_root": exec_properties[CHECKPOINT_ROOT_KEY]}
    if exec_properties.get(INITIAL_STATE_KEY):
        custom_config["initial_state"] = json.loads(exec_properties[INITIAL_STATE_KEY])
    return {
        standard_component_specs.RUN_FN_KEY: exec_properties[standard_component_specs.RUN_FN_KEY],
        standard_component_specs.TRAIN_ARGS_KEY: proto_utils.proto_to_json(
            trainer_pb2.TrainArgs(splits=[task.data.train], num_steps=task.recipe.steps)
        ),
        standard_component_specs.EVAL_ARGS_KEY: proto_utils.proto_to_json(
            trainer_pb2.EvalArgs(splits=[task.data.validation])
        ),
        standard_component_specs.CUSTOM_CONFIG_KEY: json.dumps(custom_config),
    }
