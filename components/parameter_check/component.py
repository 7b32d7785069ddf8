"""The contract of ParameterCheck: the parameters of a run in, nothing out."""

from __future__ import annotations

from typing import ClassVar

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.parameter_check import executor


class ParameterCheckSpec(ComponentSpec):
    """Execution properties of ParameterCheck."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        executor.TASK_KEY: ExecutionParameter(type=str),
        executor.LIMIT_NAME_KEY: ExecutionParameter(type=str),
        executor.STEPS_KEY: ExecutionParameter(type=int),
        executor.TRAIN_EXAMPLES_KEY: ExecutionParameter(type=int),
        executor.LIMIT_KEY: ExecutionParameter(type=float),
        executor.TOLERANCE_KEY: ExecutionParameter(type=float),
        executor.DATA_DIR_KEY: ExecutionParameter(type=str),
        executor.CHECKPOINT_ROOT_KEY: ExecutionParameter(type=str),
        executor.SERVING_DIR_KEY: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {}


class ParameterCheck(BaseComponent):
    """Fails where the run cannot be, rather than an hour into it.

    Where the parameters are known when a pipeline is made, as on one machine, they are checked there.
    """

    SPEC_CLASS = ParameterCheckSpec
    EXECUTOR_SPEC = ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        limit_name: str,
        task: RuntimeParameter,
        steps: RuntimeParameter,
        train_examples: RuntimeParameter,
        limit: RuntimeParameter,
        tolerance: RuntimeParameter,
        data_dir: RuntimeParameter,
        checkpoint_root: RuntimeParameter,
        serving_dir: RuntimeParameter,
    ) -> None:
        """Wires the component.

        Args:
          limit_name: `max_nll_bound` in a pipeline of generative tasks, `max_error` in one of classifiers.
          task: its name.
          steps: and the numbers that follow: TASK_DEFAULT for the task's.
          train_examples: of the task.
          limit: of the gate.
          tolerance: of the gate.
          data_dir: where our code opens files of itself, as at the two that follow; "" for TFDS's own default.
          checkpoint_root: of the training.
          serving_dir: where models are pushed to.
        """
        super().__init__(
            ParameterCheckSpec(
                limit_name=limit_name,
                task=task,
                steps=steps,
                train_examples=train_examples,
                limit=limit,
                tolerance=tolerance,
                data_dir=data_dir,
                checkpoint_root=checkpoint_root,
                serving_dir=serving_dir,
            )
        )
