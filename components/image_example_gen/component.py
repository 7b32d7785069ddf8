"""ImageExampleGen: a task's data set in, one Examples artifact out."""

from __future__ import annotations

from typing import Any

from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts

from components.declared_component import DeclaredBeamComponent
from components.image_example_gen.executor import Executor
from components.image_example_gen.ingestion_settings import IngestionSettings
from trainer import tasks
from trainer.task import Task


class ImageExampleGen(
    DeclaredBeamComponent,
    executor=Executor,
    properties={"task": str, "train_examples": int, "data_dir": str},
    outputs={"examples": standard_artifacts.Examples},
    defaults={"train_examples": tasks.TASK_DEFAULT},
):
    """Ingests the data set of a task from TensorFlow Datasets, and prepares it first if it is not on disk.

    TFX's ExampleGens fix the splits when a pipeline is made; here they follow from the task when it runs. Besides, the
    driver of FileBasedExampleGen never runs on Kubeflow Pipelines 2. Only those parts of the task are in the cache's
    key that decide the bytes.

    Args:
      task: what to ingest: its `data`, `stored_shape` and `binarisation`. A parameter is a task's name.
      data_dir: TFDS's directory; None or "" for TFDS's own default.
      train_examples: size of the training split of a task that a parameter names; TASK_DEFAULT for the task's.

    Outputs:
      examples: `standard_artifacts.Examples`, a split for each of `task.data.splits`, of tf.Examples with `image`
        (bytes, uint8 row-major [H, W, C]; 0 or 1 where the split is binarised), `id` (bytes, stable across runs), and
        `label` (int64) if the data set has labels.

    The execution fails if the data set cannot be prepared or is incomplete, or if an example is not what the task says;
    the message names the example.
    """

    def __init__(
        self, *, task: Task | RuntimeParameter, data_dir: str | RuntimeParameter | None = None, **others: Any
    ) -> None:
        if isinstance(task, Task):
            task = IngestionSettings.for_task(task, data_dir=None).with_fingerprint().to_json()
        super().__init__(task=task, data_dir="" if data_dir is None else data_dir, **others)
