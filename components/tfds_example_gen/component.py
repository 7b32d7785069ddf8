"""TfdsExampleGen: a task's data set in, one Examples artifact out."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base.base_beam_component import BaseBeamComponent
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.tfds_example_gen import executor
from components.tfds_example_gen.ingestion_settings import IngestionSettings
from trainer import tasks
from trainer.task import Task


class TfdsExampleGenSpec(ComponentSpec):
    """Channels and execution properties of TfdsExampleGen."""

    PARAMETERS: ClassVar[dict[str, ExecutionParameter]] = {
        executor.TASK_KEY: ExecutionParameter(type=str),
        executor.TRAIN_EXAMPLES_KEY: ExecutionParameter(type=int),
        executor.DATA_DIR_KEY: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, ChannelParameter]] = {}
    OUTPUTS: ClassVar[dict[str, ChannelParameter]] = {
        standard_component_specs.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples)
    }


class TfdsExampleGen(BaseBeamComponent):
    """Ingests the data set of a task from TensorFlow Datasets, and prepares it first if it is not on disk.

    TFX's ExampleGens fix the splits when a pipeline is made; here they follow from the task when it runs. Besides, the
    driver of FileBasedExampleGen never runs on Kubeflow Pipelines 2.

    Outputs:
      examples: `standard_artifacts.Examples`, a split for each of `task.data.splits`, of tf.Examples with `image`
        (bytes, uint8 row-major [H, W, C]; 0 or 1 where the split is binarised), `id` (bytes, stable across runs), and
        `label` (int64) if the data set has labels.

    The execution fails if the data set cannot be prepared or is incomplete, or if an example is not what the task says;
    the message names the example.
    """

    SPEC_CLASS = TfdsExampleGenSpec
    EXECUTOR_SPEC = BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        *,
        task: Task | RuntimeParameter,
        train_examples: int | RuntimeParameter = tasks.TASK_DEFAULT,
        data_dir: str | RuntimeParameter | None = None,
    ) -> None:
        """Wires the component, with only those parts of the task in the cache's key that decide the bytes.

        Args:
          task: what to ingest: its `data`, `stored_shape` and `binarisation`. A parameter is a task's name.
          train_examples: size of the training split of a task that a parameter names; TASK_DEFAULT for the task's.
          data_dir: TFDS's directory; None or "" for TFDS's own default.
        """
        if isinstance(task, Task):
            task = IngestionSettings.for_task(task, data_dir=None).to_json()
        super().__init__(
            TfdsExampleGenSpec(
                task=task,
                train_examples=train_examples,
                data_dir="" if data_dir is None else data_dir,
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )
