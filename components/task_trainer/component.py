"""The contract of TaskTrainer: a task and examples in, a model out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from tfx import types
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.task_trainer import executor
from trainer import tasks
from trainer.task import Task


class TaskTrainerSpec(ComponentSpec):
    """Channels and execution properties of TaskTrainer."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        standard_component_specs.RUN_FN_KEY: ExecutionParameter(type=str),
        executor.TASK_KEY: ExecutionParameter(type=str),
        executor.STEPS_KEY: ExecutionParameter(type=int),
        executor.TRAIN_EXAMPLES_KEY: ExecutionParameter(type=int),
        executor.CHECKPOINT_ROOT_KEY: ExecutionParameter(type=str),
        executor.INITIAL_STATE_KEY: ExecutionParameter(type=str, optional=True),
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

    Our own rather than TFX's Trainer, whose arguments are messages and JSON that are made from the task when a pipeline
    is compiled: here they are made when it runs, so that a run can be of another task.

    Outputs:
      model: `standard_artifacts.Model`.
      model_run: `standard_artifacts.ModelRun`, TensorBoard's view.
    """

    SPEC_CLASS = TaskTrainerSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

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
          examples: of our contract.
          run_fn: where the function is imported from that TFX's Trainer calls.
          task: the whole of it is in the cache's key. A parameter is a task's name.
          steps: of the training; TASK_DEFAULT for the task's.
          train_examples: of the task; TASK_DEFAULT for the task's.
          checkpoint_root: a folder that outlives a killed run.
          initial_state: where training begins: a file's `path` and its `sha256`; None for the beginning.
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
