"""Executor of ParameterCheck."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfx import types
from tfx.dsl.components.base.base_executor import BaseExecutor

from components.parameter_check.addresses import check_address
from trainer import tasks

TASK_KEY = "task"
GREATEST_NAME_KEY = "greatest_name"
STEPS_KEY = "steps"
TRAIN_EXAMPLES_KEY = "train_examples"
GREATEST_KEY = "greatest"
TOLERANCE_KEY = "tolerance"
DATA_DIR_KEY = "data_dir"
CHECKPOINT_ROOT_KEY = "checkpoint_root"
SERVING_DIR_KEY = "serving_dir"


class Executor(BaseExecutor):
    """Makes nothing."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Raises ValueError for the first parameter that cannot be; it says which, and what could be."""
        self._log_startup(input_dict, output_dict, exec_properties)
        task = tasks.resolve(
            exec_properties[TASK_KEY],
            steps=int(exec_properties[STEPS_KEY]),
            train_examples=int(exec_properties[TRAIN_EXAMPLES_KEY]),
        )
        greatest_name = exec_properties[GREATEST_NAME_KEY]
        if not hasattr(task.gate, greatest_name):
            alike = [name for name in tasks.NAMES if hasattr(tasks.get(name).gate, greatest_name)]
            raise ValueError(
                f"The task {task.name!r} has no {greatest_name}, by which this pipeline judges. Take a task of the "
                f"pipeline's kind ({', '.join(alike)}), or a pipeline that was compiled with TASK={task.name}."
            )
        given = {
            greatest_name: float(exec_properties[GREATEST_KEY]),
            "tolerance": float(exec_properties[TOLERANCE_KEY]),
        }
        dataclasses.replace(task.gate, **{name: value for name, value in given.items() if value != tasks.OWN})
        for name in (DATA_DIR_KEY, CHECKPOINT_ROOT_KEY, SERVING_DIR_KEY):
            check_address(name, exec_properties[name])
