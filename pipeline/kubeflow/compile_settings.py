"""What a user asks of a pipeline for Kubeflow, checked before anything slow is imported."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from components.run_parameters import check_address, check_task
from pipeline.kubeflow import cluster_file as clusters
from pipeline.kubeflow.cluster_file import Cluster
from pipeline.kubeflow.pipeline_spec import OBJECT_STORES
from pipeline.local.run_settings import check_score_samples, gate_of
from trainer import tasks
from trainer.task import ErrorGate


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompileSettings:
    """One pipeline, for the tasks of one kind. Most of it is a default, which a run may say otherwise."""

    cluster: Cluster
    pipeline_root: str | None
    """None for the cluster's own."""
    limit_name: str
    """Of the tasks' gates: the kind."""
    task_name: str
    steps: int
    """Of this and the next three numbers, TASK_DEFAULT stands for the task's."""
    train_examples: int
    limit: float
    tolerance: float
    data_dir: str
    """\"\" for TFDS's own default."""
    serving_dir: str
    checkpoint_root: str
    score_samples: int | None
    """None for no such stage, which no run can have then."""

    @property
    def pipeline_name(self) -> str:
        """One of a kind of tasks."""
        return "draw-classifier" if self.limit_name == ErrorGate.LIMIT else "draw"

    @classmethod
    def resolve(
        cls,
        *,
        task_name: str,
        cluster_file: str | None,
        image: str | None,
        pipeline_root: str | None,
        data_dir: str | None,
        serving_dir: str | None,
        checkpoint_root: str | None,
        steps: int | None,
        train_examples: int | None,
        max_nll_bound: float | None,
        max_error: float | None,
        tolerance: float | None,
        score_samples: int | None,
    ) -> CompileSettings:
        """Settings from a user's words; None leaves a value as the task, or the cluster, has it.

        Raises ValueError for what cannot be used.
        """
        task = tasks.get(task_name)
        gate_of(task, max_nll_bound, max_error)
        check_score_samples(task, score_samples)
        limit_name = task.gate.LIMIT
        limit = max_error if limit_name == ErrorGate.LIMIT else max_nll_bound
        numbers = {"steps": steps, "train_examples": train_examples, "limit": limit, "tolerance": tolerance}
        given: dict[str, Any] = {
            name: tasks.TASK_DEFAULT if value is None else value for name, value in numbers.items()
        }
        check_task(limit_name=limit_name, task=task_name, **given)
        if pipeline_root is not None and not pipeline_root.startswith(OBJECT_STORES):
            raise ValueError(
                f"The pipeline root is {pipeline_root}: Kubeflow Pipelines keeps artifacts in an object store, at "
                f"{', '.join(OBJECT_STORES)}."
            )
        cluster = clusters.read(None if cluster_file is None else Path(cluster_file).expanduser(), image=image)
        addresses: dict[str, Any] = {
            "data_dir": data_dir or "",
            "serving_dir": serving_dir or _below(pipeline_root, "serving/{task}", "SERVING_DIR"),
            "checkpoint_root": checkpoint_root or _below(pipeline_root, "checkpoints", "CHECKPOINT_ROOT"),
        }
        for name, address in addresses.items():
            check_address(name, address)
            if address.startswith("/") and not cluster.mounts(address):
                raise ValueError(
                    f"{name} is {address}, which is on no volume of the cluster's file: it would be lost with the "
                    "stage's pod. Add the volume's claim and path, or name another place."
                )
        return cls(
            cluster=cluster,
            pipeline_root=None if pipeline_root is None else pipeline_root.rstrip("/"),
            limit_name=limit_name,
            task_name=task_name,
            score_samples=score_samples,
            **addresses,
            **given,
        )


def _below(pipeline_root: str | None, folder: str, variable: str) -> str:
    """A default for what our code opens itself: Google's store can be opened, the others cannot."""
    if pipeline_root is None or not pipeline_root.startswith("gs://"):
        raise ValueError(
            f"{variable} is needed, for TensorFlow cannot open {pipeline_root or 'the default root of the cluster'}: "
            "give a path on a volume that is mounted into the stages, or an address at gs://."
        )
    return f"{pipeline_root.rstrip('/')}/{folder}"
