"""TaskTrainer: a task and examples in, a model out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from tfx import types
from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import proto_utils

from trainer import tasks
from trainer.task import Task

TASK_KEY = "task"
STEPS_KEY = "steps"
TRAIN_EXAMPLES_KEY = "train_examples"
CHECKPOINT_ROOT_KEY = "checkpoint_root"
INITIAL_STATE_KEY = "initial_state"


class Executor(GenericExecutor):
    """Gives TFX's executor, which calls `run_fn`, the arguments that follow from the task."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Trains on `examples` and writes `model` and `model_run`. Raises ValueError for an unknown task."""
        super().Do(input_dict, output_dict, trainer_properties(exec_properties))


def trainer_properties(exec_properties: dict[str, Any]) -> dict[str, Any]:
    """Converts the execution properties of TaskTrainer to those of TFX's Trainer."""
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


class TaskTrainerSpec(ComponentSpec):
    """Channels and execution properties of TaskTrainer."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        standard_component_specs.RUN_FN_KEY: ExecutionParameter(type=str),
        TASK_KEY: ExecutionParameter(type=str),
        STEPS_KEY: ExecutionParameter(type=int),
        TRAIN_EXAMPLES_KEY: ExecutionParameter(type=int),
        CHECKPOINT_ROOT_KEY: ExecutionParameter(type=str),
        INITIAL_STATE_KEY: ExecutionParameter(type=str, optional=True),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        standard_component_specs.MODEL_RUN_KEY: ChannelParameter(type=standard_artifacts.ModelRun),
    }


class TaskTrainer(BaseComponent):
    """Trains a task and exports its model.

    The arguments of TFX's Trainer are messages and JSON, made from the task when a pipeline is compiled. Here they are
    made when it runs, so that a run can be of another task.

    Outputs:
      model: `standard_artifacts.Model`.
      model_run: `standard_artifacts.ModelRun`, with TensorBoard's event files.
    """

    SPEC_CLASS = TaskTrainerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        examples: types.BaseChannel,
        run_fn: str,
        task: Task | RuntimeParameter,
        steps: int | RuntimeParameter = tasks.TASK_DEFAULT,
        train_examples: int | RuntimeParameter = tasks.TASK_DEFAULT,
        checkpoint_root: str | RuntimeParameter,
        initial_state: Mapping[str, str] | None = None,
    ) -> None:
        """Wires the component.

        Args:
          examples: tf.Examples of our contract.
          run_fn: import path of the function that TFX's Trainer calls.
          task: what to train; all of it is in the cache's key. A parameter is a task's name.
          steps: training steps; TASK_DEFAULT for the task's.
          train_examples: size of the training split; TASK_DEFAULT for the task's.
          checkpoint_root: a folder that outlives a killed run.
          initial_state: the weights that training starts from, a file's `path` and its `sha256`; None for random ones.
        """
        super().__init__(
            TaskTrainerSpec(
                examples=examples,
                run_fn=run_fn,
                task=task.to_json() if isinstance(task, Task) else task,
                steps=steps,
                train_examples=train_examples,
                checkpoint_root=checkpoint_root,
                initial_state=None if initial_state is None else json.dumps(dict(initial_state), sort_keys=True),
                model=types.Channel(type=standard_artifacts.Model),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
            )
        )
