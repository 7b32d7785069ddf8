"""ParameterCheck: the parameters of a run in, what is pushed already out; fails if the run is impossible."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid

import tensorflow as tf
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.types import artifact_utils

from components.declared_component import Artifacts, DeclaredComponent, Properties
from components.evaluator import pushed_versions
from components.evaluator.pushed_versions import PushedVersions
from components.model_artifact import PLACEHOLDER
from components.run_parameters import check_address, check_task
from trainer.task import ImageFiles, Task

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
        task = check_task(**given)
        for name, address in addresses.items():
            check_address(name, address)
            if address.startswith("gs://"):
                _check_bucket(name, address)
        data_dir = addresses["data_dir"]
        # TFDS would make the folder without a word, and find nothing in it.
        if data_dir.startswith("/") and not os.path.isdir(data_dir):
            raise ValueError(f"data_dir is {data_dir}, and there is no such folder: make it first, on the volume.")
        for name, address in addresses.items():
            # Data that are there already may be on a volume that can only be read.
            if address and not (name == "data_dir" and _has_data(address, task)):
                _check_writable(name, address.replace(PLACEHOLDER, task.name))
        pushed_versions.write(
            artifact_utils.get_single_instance(output_dict["pushed_versions"]),
            addresses["serving_dir"].replace(PLACEHOLDER, task.name),
        )


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


def _has_data(data_dir: str, task: Task) -> bool:
    """Whether TFDS finds the data set in its folder, or needs none there."""
    if isinstance(task.data, ImageFiles):
        return True
    return bool(tf.io.gfile.isdir(os.path.join(data_dir, *task.data.builder.split(":"))))


def _check_writable(name: str, address: str) -> None:
    """Writes a file where the stages will, and removes it. Raises ValueError that says who must own the folder."""
    folder = address
    # What is missing is made by the stage that needs it.
    while not folder.startswith("gs://") and not os.path.exists(folder):
        folder = os.path.dirname(folder)
    file = os.path.join(folder, f".parameter-check-{uuid.uuid4().hex}")
    fault = f"{name} is {address}, and nothing can be written to {folder}"
    if folder.startswith("gs://"):
        try:
            with tf.io.gfile.GFile(file, "w") as opened:
                opened.write("May be deleted.")
            tf.io.gfile.remove(file)
        except tf.errors.OpError as error:
            raise ValueError(
                f"{fault}: {_first_line(error)}. The account of these stages needs the role Storage Object Admin."
            ) from error
        return
    try:
        with open(file, "w") as opened:
            opened.write("May be deleted.")
    except OSError as error:
        fault = f"{fault}: {error.strerror}"
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise ValueError(f"{fault}.") from error
        user, group, status = os.geteuid(), os.getegid(), os.stat(folder)
        raise ValueError(
            f"{fault}. It belongs to user {status.st_uid} and group {status.st_gid} (mode "
            f"{status.st_mode & 0o7777:o}), and stages run as user {user} and group {group}: on the volume, as root, "
            f"chown {user}:{group} {folder}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.remove(file)


def _first_line(error: tf.errors.OpError) -> str:
    return str(error.message).partition("\n")[0].rpartition("; ")[2]


class ParameterCheck(
    DeclaredComponent, executor=Executor, properties=_TYPES, outputs={"pushed_versions": PushedVersions}
):
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

    Outputs:
      pushed_versions: what is in that folder.
    """
