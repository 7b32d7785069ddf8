"""Whether a run can be: what is checked when a pipeline is compiled, and again of what a run says."""

from __future__ import annotations

import dataclasses
from typing import Any

from trainer import tasks
from trainer.task import ClassifyingTask, GenerativeTask

_REMOTE = ("gs",)
"""What TensorFlow's own filesystems reach. Those for S3 are in tensorflow-io, which no TensorFlow of ours can load."""


def check_task(
    *, limit_name: str | None, task: str, steps: int, train_examples: int, limit: float, tolerance: float
) -> GenerativeTask | ClassifyingTask:
    """The task that comes of these parameters, each of the numbers maybe TASK_DEFAULT.

    `limit_name` is that of the gate by which a pipeline judges; None for the task's.

    Raises ValueError for the first of them that cannot be.
    """
    resolved = tasks.resolve(task, steps=steps, train_examples=train_examples)
    gate = resolved.gate
    if limit_name not in (gate.LIMIT, None):
        alike = [name for name in tasks.NAMES if limit_name == tasks.get(name).gate.LIMIT]
        raise ValueError(
            f"The task {resolved.name!r} has no {limit_name}, by which this pipeline judges. Take a task of its kind "
            f"({', '.join(alike)}), or a pipeline that was compiled with TASK={resolved.name}."
        )
    given: dict[str, Any] = {gate.LIMIT: limit, "tolerance": tolerance}
    # For its checks.
    dataclasses.replace(gate, **{name: value for name, value in given.items() if value != tasks.TASK_DEFAULT})
    return resolved


def check_address(name: str, address: str) -> None:
    """Raises ValueError where our code cannot open what lies at an address by itself; "" stands for a default."""
    scheme, found, _ = address.partition("://")
    if found and scheme not in _REMOTE:
        raise ValueError(
            f"{name} is {address}, and TensorFlow cannot open {scheme}://. Give a path on a volume that is mounted "
            "into the stages, or an address at gs://. (Artifacts are copied by Kubeflow Pipelines: the pipeline root "
            "may be any.)"
        )
    if address and not found and not address.startswith("/"):
        raise ValueError(f"{name} is {address}: give an absolute path on a volume, or an address at gs://.")
