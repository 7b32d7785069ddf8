"""CuratedSchema: a task in, the schema of its tf.Examples out."""

from __future__ import annotations

import math
import os

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME as SCHEMA_FILE
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.declared_component import Artifacts, DeclaredComponent, Properties
from trainer import tasks
from trainer.task import ClassifyingTask, Task

_HEADER = """\
# The tf.Examples of a task: {rows} x {columns} pixels of {channels} byte(s).
# Nothing else may be there: a feature that is not named here is an anomaly, and an anomaly stops the pipeline.
"""


class Executor(BaseExecutor):
    """Writes the schema that is given, or that of the task that a run names."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        """Writes `schema`. Raises ValueError for an unknown task."""
        self._log_startup(input_dict, output_dict, exec_properties)
        text = exec_properties.get("schema_text") or schema_text(tasks.resolve(exec_properties["task"]))
        schema = artifact_utils.get_single_instance(output_dict["schema"])
        io_utils.write_string_file(os.path.join(schema.uri, SCHEMA_FILE), text)


def schema_text(task: Task) -> str:
    """Returns the schema that was written for a task, or the one that follows from it, as text.

    Raises ValueError if the one that was written is no schema, or misses a feature that every task has.
    """
    if task.schema is not None:
        _check(task)
        return task.schema
    rows, columns, channels = task.stored_shape
    header = _HEADER.format(rows=rows, columns=columns, channels=channels)
    return header + text_format.MessageToString(_generate(task))


def _generate(task: Task) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    image = _add(schema, "image", schema_pb2.BYTES)
    # Raw uint8, not a file format. TFDV measures an image's bytes and does not count it as a word.
    image.image_domain.max_image_byte_size = math.prod(task.stored_shape)
    _add(schema, "id", schema_pb2.BYTES)
    if task.data.has_labels:
        domain = _add(schema, "label", schema_pb2.INT).int_domain
        domain.min, domain.is_categorical = 0, True
        classes = task.classes if isinstance(task, ClassifyingTask) else len(task.data.class_names)
        if classes:
            domain.max = classes - 1
    return schema


def _add(schema: schema_pb2.Schema, name: str, kind: int) -> schema_pb2.Feature:
    """Adds a feature of one value that every example has."""
    feature = schema.feature.add(name=name, type=kind)
    feature.presence.min_fraction, feature.presence.min_count = 1.0, 1
    feature.value_count.min, feature.value_count.max = 1, 1
    return feature


def _check(task: Task) -> None:
    place = f"The schema of {task.name}, {task.source('schema')},"
    try:
        schema = text_format.Parse(task.schema, schema_pb2.Schema())
    except text_format.ParseError as error:
        raise ValueError(f"{place} is no text of TensorFlow Metadata's Schema: {error}") from error
    for expected in _generate(task).feature:
        feature = next((feature for feature in schema.feature if feature.name == expected.name), None)
        if feature is None or feature.type != expected.type:
            raise ValueError(
                f"{place} has no feature {expected.name!r} of type {schema_pb2.FeatureType.Name(expected.type)}, which "
                "every example of this task has: add it, or delete the file for the schema that follows from the task."
            )
        if expected.HasField("image_domain") and not feature.HasField("image_domain"):
            raise ValueError(
                f"{place} does not mark {expected.name!r} as an image: add image_domain {{}}, or every image is "
                "counted as a word."
            )


class CuratedSchema(
    DeclaredComponent,
    executor=Executor,
    properties={"task": str, "schema_text": str},
    outputs={"schema": standard_artifacts.Schema},
    defaults={"task": None, "schema_text": None},
):
    """Makes the schema of a task, of the features, sizes and classes that the task says.

    TFX's ImportSchemaGen takes a file, but a path on the host that compiles a pipeline is not one in the image that
    runs it, and a run may be of another task than the pipeline was compiled with. Only the schema is in
    the cache's key where the task is known.

    Args:
      task: whose examples it describes; a parameter is a task's name or its JSON.

    Raises:
      ValueError: if the task has a schema of its own that cannot be used.

    Outputs:
      schema: `standard_artifacts.Schema`.
    """

    def __init__(self, *, task: Task | RuntimeParameter) -> None:
        if isinstance(task, Task):
            super().__init__(schema_text=schema_text(task))
        else:
            super().__init__(task=task)
