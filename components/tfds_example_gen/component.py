"""The contract of TfdsExampleGen: a task's data set in, one Examples artifact out."""

from __future__ import annotations

from tfx.components.example_gen.component import QueryBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from components.tfds_example_gen.executor import Executor
from components.tfds_example_gen.settings import IngestionSettings
from trainer.task import Task

BINARISATION_SEED = 0
"""Not the recipe's seed: another training run is measured on the same pixels."""


class TfdsExampleGen(QueryBasedExampleGen):
    """Ingests the data set of a task from TensorFlow Datasets, preparing it first where it is not on disk.

    Outputs:
      examples: `standard_artifacts.Examples`, a split for each of `task.data.splits`, of tf.Examples with `image`
        (bytes, uint8 row-major [H, W, C]; 0 or 1 where the split is binarised), `id` (bytes, stable across runs), and
        `label` (int64) where the data set has labels.

    The execution fails where the data set cannot be had or is incomplete, and where an example is not what the task
    says; the message names the example.
    """

    # QueryBased, because the driver of FileBasedExampleGen never runs on Kubeflow Pipelines 2.
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(self, *, task: Task, data_dir: str | None = None) -> None:
        """Takes from the task what decides the bytes, so that TFX's cache holds when the rest changes.

        Args:
          task: its `data`, `stored_shape` and `binarisation` decide what is written.
          data_dir: TFDS's directory; None is TFDS's own default.
        """
        settings = IngestionSettings.of_task(task, data_dir=data_dir, binarisation_seed=BINARISATION_SEED)
        splits = [example_gen_pb2.Input.Split(name=split, pattern=split) for split in task.data.splits]
        super().__init__(input_config=example_gen_pb2.Input(splits=splits), custom_config=settings.to_custom_config())
