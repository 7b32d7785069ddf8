"""Executor of ParameterCheck: the parameters by themselves, then the places that they name."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf
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
            address = exec_properties[name]
            check_address(name, address)
            if address.startswith("gs://"):
                _check_bucket(name, address)
        data_dir = exec_properties[DATA_DIR_KEY]
        # TFDS would make it without a word, and have nothing in it.
        if data_dir.startswith("/") and not os.path.isdir(data_dir):
            raise ValueError(
                f"{DATA_DIR_KEY} is {data_dir}, and there is no such folder: make it first, on the volume."
            )


def _check_bucket(name: str, address: str) -> None:
    bucket = "/".join(address.split("/")[:3])
    try:
        found = tf.io.gfile.exists(bucket)
    except tf.errors.OpError as error:
        raise ValueError(
            f"{name} is {address}, and its bucket cannot be reached: {' '.join(str(error).split())}"
        ) from error
    if not found:
        raise ValueError(f"{name} is {address}, and {bucket} does not exist, or not for the account of these stages.")
