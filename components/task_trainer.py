"""TaskTrainer: a task and examples in, a model out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfx.components.trainer.executor import GenericExecutor
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.utils import proto_utils

from components.declared_component import Artifacts, DeclaredComponent, Properties
from trainer import tasks
from trainer.task import Task


class Executor(GenericExecutor):
    """Gives TFX's executor, which calls `run_fn`, the arguments that follow from the task."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        """Trains on `examples` and writes `model` and `model_run`. Raises ValueError for an unknown task."""
        super().Do(input_dict, output_dict, trainer_properties(exec_properties))


def trainer_properties(exec_properties: Properties) -> Properties:
    """Converts the execution properties of TaskTrainer to those of TFX's Trainer."""
    task = tasks.resolve(
        exec_properties["task"],
        steps=int(exec_properties["steps"]),
        train_examples=int(exec_properties["train_examples"]),
    )
    custom_config: dict[str, Any] = {"task": task.to_json(), "checkpoint_root": exec_properties["checkpoint_root"]}
    if exec_properties.get("initial_state"):
        custom_config["initial_state"] = json.loads(exec_properties["initial_state"])
    return {
        standard_component_specs.RUN_FN_KEY: exec_properties["run_fn"],
        standard_component_specs.TRAIN_ARGS_KEY: proto_utils.proto_to_json(
            trainer_pb2.TrainArgs(splits=task.data.training_splits, num_steps=task.recipe.steps)
        ),
        standard_component_specs.EVAL_ARGS_KEY: proto_utils.proto_to_json(
            trainer_pb2.EvalArgs(splits=[task.data.validation])
        ),
        standard_component_specs.CUSTOM_CONFIG_KEY: json.dumps(custom_config),
    }


class TaskTrainer(
    DeclaredComponent,
    executor=Executor,
    inputs={"examples": standard_artifacts.Examples},
    properties={
        "run_fn": str,
        "task": str,
        "steps": int,
        "train_examples": int,
        "checkpoint_root": str,
        "initial_state": str,
    },
    outputs={"model": standard_artifacts.Model, "model_run": standard_artifacts.ModelRun},
    defaults={"steps": tasks.TASK_DEFAULT, "train_examples": tasks.TASK_DEFAULT, "initial_state": None},
):
    """Trains a task and exports its model.

    The arguments of TFX's Trainer are messages and JSON, made from the task when a pipeline is compiled. Here they are
    made when it runs, so that a run can be of another task.

    Args:
      task: what to train; all of it is in the cache's key. A parameter is a task's name.
      initial_state: the weights that training starts from, a file's `path` and its `sha256`; None for random ones.
      examples: tf.Examples of our contract.
      run_fn: import path of the function that TFX's Trainer calls.
      steps: training steps; TASK_DEFAULT for the task's.
      train_examples: size of the training split; TASK_DEFAULT for the task's.
      checkpoint_root: a folder that outlives a killed run.

    Outputs:
      model: `standard_artifacts.Model`.
      model_run: `standard_artifacts.ModelRun`, with TensorBoard's event files.
    """

    def __init__(
        self, *, task: Task | RuntimeParameter, initial_state: Mapping[str, str] | None = None, **others: Any
    ) -> None:
        super().__init__(
            task=task.to_json() if isinstance(task, Task) else task,
            initial_state=None if initial_state is None else json.dumps(dict(initial_state), sort_keys=True),
            **others,
        )
