"""ParameterCheck: the parameters of a run in, nothing out; fails if the run is impossible."""

from __future__ import annotations

import os

import tensorflow as tf
from tfx.dsl.components.base.base_executor import BaseExecutor

from components.declared_component import Artifacts, DeclaredComponent, Properties
from components.run_parameters import check_address, check_task

_TYPES = {
    "task": str,
    "limit_name": str,
    "steps": int,
    "train_examples": int,
    "limit": float,
    "tolerance": float,
    "data_dir": str,
    "checkpoint_root": str,
    "serving_dir": str,
}


class Executor(BaseExecutor):
    """Checks the parameters themselves, then the places that they name."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        """Raises ValueError for the first impossible parameter; says what is possible."""
        self._log_startup(input_dict, output_dict, exec_properties)
        given = {name: kind(exec_properties[name]) for name, kind in _TYPES.items()}
        addresses = {name: given.pop(name) for name in ("data_dir", "checkpoint_root", "serving_dir")}
        check_task(**given)
        for name, address in addresses.items():
            check_address(name, address)
            if address.startswith("gs://"):
                _check_bucket(name, address)
        data_dir = addresses["data_dir"]
        # TFDS would make the folder without a word, and find nothing in it.
        if data_dir.startswith("/") and not os.path.isdir(data_dir):
            raise ValueError(f"data_dir is {data_dir}, and there is no such folder: make it first, on the volume.")


def _check_bucket(name: str, address: str) -> None:
    bucket = "/".join(address.split("/")[:3])
    try:
        exists = tf.io.gfile.exists(bucket)
    except tf.errors.OpError as error:
        raise ValueError(
            f"{name} is {address}, and its bucket cannot be reached: {' '.join(str(error).split())}"
        ) from error
    if not exists:
        raise ValueError(f"{name} is {address}, and {bucket} does not exist, or not for the account of these stages.")


class ParameterCheck(DeclaredComponent, executor=Executor, properties=_TYPES):
    """Fails before anything is made if a run is impossible, rather than an hour into it.

    Where the parameters are known when a pipeline is made, as on one machine, they are checked then.

    Args, where TASK_DEFAULT stands for the task's own number:
      limit_name: `max_nll_bound` in a pipeline of generative tasks, `max_error` in one of classifiers.
      task: the task's name.
      steps: training steps.
      train_examples: size of the training split.
      limit: the gate's limit, under the name `limit_name`.
      tolerance: the gate's tolerance.
      data_dir: TFDS's directory; "" for TFDS's own default.
      checkpoint_root: the folder for checkpoints.
      serving_dir: the folder that models are pushed to.
    """
