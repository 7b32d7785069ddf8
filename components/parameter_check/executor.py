"""Executor of ParameterCheck."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.dsl.components.base.base_executor import BaseExecutor

from components.parameter_check.check import check_address, check_task

TASK_KEY = "task"
LIMIT_NAME_KEY = "limit_name"
STEPS_KEY = "steps"
TRAIN_EXAMPLES_KEY = "train_examples"
LIMIT_KEY = "limit"
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
        check_task(
            limit_name=exec_properties[LIMIT_NAME_KEY],
            task=exec_properties[TASK_KEY],
            steps=int(exec_properties[STEPS_KEY]),
            train_examples=int(exec_properties[TRAIN_EXAMPLES_KEY]),
            limit=float(exec_properties[LIMIT_KEY]),
            tolerance=float(exec_properties[TOLERANCE_KEY]),
        )
        for name in (DATA_DIR_KEY, CHECKPOINT_ROOT_KEY, SERVING_DIR_KEY):
            check_address(name, exec_properties[name])
