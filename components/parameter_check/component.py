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
        executor.GREATEST_NAME_KEY: ExecutionParameter(type=str),
        executor.STEPS_KEY: ExecutionParameter(type=int),
        executor.TRAIN_EXAMPLES_KEY: ExecutionParameter(type=int),
        executor.GREATEST_KEY: ExecutionParameter(type=float),
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
        greatest_name: str,
        task: RuntimeParameter,
        steps: RuntimeParameter,
        train_examples: RuntimeParameter,
        greatest: RuntimeParameter,
        tolerance: RuntimeParameter,
        data_dir: RuntimeParameter,
        checkpoint_root: RuntimeParameter,
        serving_dir: RuntimeParameter,
    ) -> None:
        """Wires the component.

        Args:
          greatest_name: `max_nll_bound` in a pipeline of generative tasks, `max_error` in one of classifiers.
          task: its name.
          steps: and the numbers that follow: OWN for the task's.
          train_examples: of the task.
          greatest: of the gate.
          tolerance: of the gate.
          data_dir: where our code opens files of itself, as at the two that follow; "" for TFDS's own default.
          checkpoint_root: of the training.
          serving_dir: where models are pushed to.
        """
        super().__init__(
            ParameterCheckSpec(
                greatest_name=greatest_name,
                task=task,
                steps=steps,
                train_examples=train_examples,
                greatest=greatest,
                tolerance=tolerance,
                data_dir=data_dir,
                checkpoint_root=checkpoint_root,
                serving_dir=serving_dir,
            )
        )
