"""Checks the parameters of a run, both when a pipeline is compiled and when the run starts."""

from __future__ import annotations

import dataclasses
from typing import Any

from trainer import tasks
from trainer.task import Task

_REMOTE = ("gs",)
"""Schemes that TensorFlow opens itself. Those for S3 are in tensorflow-io, which no TensorFlow of ours can load."""

RUN_ID_VARIABLE = "KFP_RUN_ID"
"""Variable with the run's id in a pod of Kubeflow Pipelines, where its entry point sets it."""


def check_task(
    *, limit_name: str | None, task: str, steps: int, train_examples: int, limit: float, tolerance: float
) -> Task:
    """Returns the task that results from these parameters, each number of which may be TASK_DEFAULT.

    Args:
      limit_name: the limit of the gate by which the pipeline judges; None for the task's.
      task: the task's name.
      steps: training steps.
      train_examples: size of the training split.
      limit: the gate's limit.
      tolerance: the gate's tolerance.

    Raises:
      ValueError: for the first impossible parameter.
    """
    resolved = tasks.resolve(task, steps=steps, train_examples=train_examples)
    if resolved.recipe.steps == 0:
        raise ValueError("recipe.steps is 0: it must be positive, for these runs start from random weights.")
    gate = resolved.gate
    if limit_name not in (resolved.kind.limit, None):
        alike = [name for name in tasks.NAMES if limit_name == tasks.get(name).kind.limit]
        raise ValueError(
            f"The task {resolved.name!r} has no {limit_name}, by which this pipeline judges. Take a task of its kind "
            f"({', '.join(alike)}), or a pipeline that was compiled with TASK={resolved.name}."
        )
    given: dict[str, Any] = {resolved.kind.limit: limit, "tolerance": tolerance}
    # Only for the checks of the constructor.
    dataclasses.replace(gate, **{name: value for name, value in given.items() if value != tasks.TASK_DEFAULT})
    return resolved


def check_address(name: str, address: str) -> None:
    """Raises ValueError if our code cannot open files at an address itself; "" stands for a default."""
    scheme, separator, place = address.partition("://")
    if separator and scheme not in _REMOTE:
        raise ValueError(
            f"{name} is {address}, and TensorFlow cannot open {scheme}://. Give a path on a volume that is mounted "
            "into the stages, or an address at gs://. (Artifacts are copied by Kubeflow Pipelines: the pipeline root "
            "may be any.)"
        )
    if separator and not place.partition("/")[0]:
        raise ValueError(f"{name} is {address}, which names no bucket: give {scheme}://BUCKET/FOLDER.")
    if address and not separator and not address.startswith("/"):
        raise ValueError(f"{name} is {address}: give an absolute path on a volume, or an address at gs://.")
