"""Runs ImageExampleGen's executor in this process, reads what it wrote, and validates it as the pipeline does."""

from __future__ import annotations

import dataclasses
import pathlib

import tensorflow as tf
from tfx import types
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import proto_utils

from components.curated_schema import schema_text
from components.image_example_gen.component import ImageExampleGen
from components.image_example_gen.executor import Executor
from components.strict_example_validator import Executor as StrictExampleValidator
from tests.components import tiny_binary_dataset_builder
from trainer.task import Binarisation, DataSource, Task
from trainer.tasks import DIGITS as DIGITS_TASK

DIGITS = dataclasses.replace(DIGITS_TASK, binarisation=Binarisation.STOCHASTIC_EACH_EPOCH)
"""The one binarisation that treats the splits differently."""

TINY = dataclasses.replace(
    DIGITS_TASK,
    name="tiny",
    data=DataSource(
        builder="tiny_binary:2.1.0",
        module=tiny_binary_dataset_builder.__name__,
        train="train",
        validation="test",
        test="test",
        has_labels=False,
    ),
    image_shape=tiny_binary_dataset_builder.IMAGE_SHAPE,
    binarisation=Binarisation.GIVEN,
)


def ingest(
    task: Task, data_dir: pathlib.Path, uri: pathlib.Path, beam_args: tuple[str, ...] = ()
) -> standard_artifacts.Examples:
    """The Examples artifact of a task, written to `uri`."""
    component = ImageExampleGen(task=task, data_dir=str(data_dir))
    examples = standard_artifacts.Examples()
    examples.uri = str(uri)
    context = BaseBeamExecutor.Context(beam_pipeline_args=list(beam_args))
    Executor(context).Do({}, {"examples": [examples]}, execution_properties(component))
    return examples


def validate(task: Task, examples: standard_artifacts.Examples, root: pathlib.Path) -> None:
    """Statistics and the strict validation against the task's curated schema, as the pipeline has them."""
    artifacts: dict[str, types.Artifact] = {
        "schema": standard_artifacts.Schema(),
        "statistics": standard_artifacts.ExampleStatistics(),
        "anomalies": standard_artifacts.ExampleAnomalies(),
    }
    for key, artifact in artifacts.items():
        artifact.uri = str(root / key)
        pathlib.Path(artifact.uri).mkdir()
    (root / "schema" / "schema.pbtxt").write_text(schema_text(task))
    statistics_gen.Executor(BaseBeamExecutor.Context(beam_pipeline_args=[])).Do(
        {"examples": [examples], "schema": [artifacts["schema"]]},
        {"statistics": [artifacts["statistics"]]},
        {"exclude_splits": "[]"},
    )
    StrictExampleValidator().Do(
        {"statistics": [artifacts["statistics"]], "schema": [artifacts["schema"]]},
        {"anomalies": [artifacts["anomalies"]]},
        {"exclude_splits": "[]"},
    )


def execution_properties(component: ImageExampleGen) -> dict[str, int | str]:
    """As the orchestrator hands them to the executor: messages as JSON."""
    return {
        key: value if isinstance(value, int | str) else proto_utils.proto_to_json(value)
        for key, value in component.exec_properties.items()
        if value is not None
    }


def records(examples: standard_artifacts.Examples, split: str) -> list[bytes]:
    """The serialised examples of a split, in the order of the files."""
    files = sorted(pathlib.Path(artifact_utils.get_split_uri([examples], split)).iterdir())
    return [record.numpy() for record in tf.data.TFRecordDataset(list(map(str, files)), compression_type="GZIP")]


def by_id(serialised: list[bytes]) -> dict[str, dict[str, bytes | int]]:
    """The features of each example, by its id; each feature has one value, and each id one example."""
    examples = {}
    for record in serialised:
        features = {}
        for name, feature in tf.train.Example.FromString(record).features.feature.items():
            (features[name],) = feature.bytes_list.value or feature.int64_list.value
        examples[features["id"].decode()] = features
    assert len(examples) == len(serialised)
    return examples
