"""Settings of a pipeline for Kubeflow, checked before anything slow is imported."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from components.run_parameters import check_address, check_task
from pipeline.kubeflow import cluster_file
from pipeline.kubeflow.cluster_file import Cluster
from pipeline.kubeflow.pipeline_spec import OBJECT_STORES, is_root
from pipeline.option_fields import Option
from pipeline.training_options import TrainingOptions
from serving import beam_options
from trainer import tasks
from trainer.task import CLASSIFIER, ImageFiles


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompileSettings(TrainingOptions):
    """One pipeline, for the tasks of one kind. Most options are defaults, which a run may override.

    Raises ValueError for what cannot be used.
    """

    task_name: Annotated[
        str,
        Option(
            "The task of a run that names none, a name or a file. The pipeline is for tasks of its kind: generative or "
            "classifying.",
            flag="--task",
            is_place=True,
        ),
    ] = "digits"
    cluster_file: Annotated[
        str | None, Option("A YAML file: image, resources, volumes, secrets.", flag="--cluster", is_place=True)
    ] = None
    image: Annotated[str | None, Option("The image that stages run in.  [default: the cluster file's]")] = None
    pipeline_root: Annotated[
        str | None, Option("Where artifacts go: gs://, s3:// or minio://.  [default: the cluster's own]")
    ] = None
    data_dir: Annotated[str | None, Option("Where TFDS data sets are: gs:// or a volume's path.")] = None
    serving_dir: Annotated[
        str | None,
        Option(
            "Where models are pushed to: gs:// or a volume's path; {task} in it is the task's name.  "
            "[default: serving/{task} below a pipeline root at gs://]"
        ),
    ] = None
    checkpoint_root: Annotated[
        str | None,
        Option(
            "Where training goes on after it was killed: gs:// or a volume's path.  "
            "[default: checkpoints below a pipeline root at gs://]"
        ),
    ] = None
    tolerance: Annotated[
        float | None,
        Option(
            "By how much a model may be worse than the one that was pushed last.  [default: the task's]", range=(0, 1e9)
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.gate  # Raises for the threshold of another kind of task.
        self.check_images()
        self.check_score_samples()
        check_task(limit_name=self.task.kind.limit, **self.task_parameters)
        if self.pipeline_root is not None and not is_root(self.pipeline_root):
            raise ValueError(
                f"The pipeline root is {self.pipeline_root}: Kubeflow Pipelines keeps artifacts in a bucket of an "
                f"object store, at {', '.join(OBJECT_STORES)}."
            )
        cluster = self.cluster
        for name, address in self.locations.items():
            check_address(name, address)
            if address.startswith("/") and not cluster.mounts(address):
                raise ValueError(
                    f"{name} is {address}, which is on no volume of the cluster's file: it would be lost with the "
                    "stage's pod. Add the volume's claim and path, or name another place."
                )

        for name, stage in {"default": cluster.default, **cluster.stages}.items():
            if stage.beam is not None:
                self._check_beam(name, stage.beam)
        images = self.task.data.address
        if isinstance(self.task.data, ImageFiles) and images.startswith("/") and not cluster.mounts(images):
            raise ValueError(
                f"data.images is {images}, which is on no volume of the cluster's file: no stage could read them. "
                "Copy them to an object store or to a volume, and name that place: --set data.images=gs://BUCKET/FOLDER."
            )

    def _check_beam(self, stage: str, arguments: Sequence[str]) -> None:
        """Raises ValueError for what the stage's entry point would refuse when it runs."""
        try:
            beam_options.check(arguments)
        except ValueError as error:
            raise ValueError(f"{stage}.beam in the cluster's file: {error}") from error
        runner = beam_options.remote_runner(arguments)
        if runner is not None and not (self.pipeline_root or "").startswith("gs://"):
            raise ValueError(
                f"{stage}.beam in the cluster's file: {runner}'s workers would see neither the pod's files nor "
                f"{self.pipeline_root or 'the default root of the cluster'}. Take a pipeline root at gs://, or leave "
                "the runner out."
            )

    @property
    def pipeline_name(self) -> str:
        """One name for each kind of task."""
        return "draw-classifier" if self.task.kind is CLASSIFIER else "draw"

    @property
    def task_parameters(self) -> dict[str, Any]:
        """Defaults of the runtime parameters that describe the task; TASK_DEFAULT leaves a number to the task."""
        numbers = {
            "steps": self.steps,
            "train_examples": self.train_examples,
            "limit": getattr(self, self.task.kind.limit),
            "tolerance": self.tolerance,
        }
        return {
            # What no image knows by name travels whole.
            "task": self.task.name if self.task == tasks.BY_NAME.get(self.task.name) else self.task.to_json(),
            **{name: tasks.TASK_DEFAULT if value is None else value for name, value in numbers.items()},
        }

    @property
    def locations(self) -> dict[str, str]:
        """Defaults of the runtime parameters that hold folders; "" is TFDS's own data directory."""
        return {
            "data_dir": self.data_dir or "",
            "serving_dir": self.serving_dir or self._below_root("serving/{task}", "SERVING_DIR"),
            "checkpoint_root": self.checkpoint_root or self._below_root("checkpoints", "CHECKPOINT_ROOT"),
        }

    @functools.cached_property
    def cluster(self) -> Cluster:
        """What the stages get of the cluster."""
        path = None if self.cluster_file is None else Path(self.cluster_file).expanduser()
        return cluster_file.read(path, image=self.image)

    def _below_root(self, folder: str, variable: str) -> str:
        """A default for what our code opens itself: of the object stores it can open Google's alone."""
        root = self.pipeline_root
        if root is None or not root.startswith("gs://"):
            raise ValueError(
                f"{variable} is needed, for TensorFlow cannot open {root or 'the default root of the cluster'}: "
                "give a path on a volume that is mounted into the stages, or an address at gs://."
            )
        return f"{root.rstrip('/')}/{folder}"
