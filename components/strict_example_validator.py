"""StrictExampleValidator: TFX's ExampleValidator, but an anomaly stops the pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.components.example_validator import executor as example_validator
from tfx.components.example_validator.component import ExampleValidator
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.dsl.io import fileio
from tfx.proto.orchestration.execution_result_pb2 import ExecutorOutput
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from components.declared_component import Artifacts, Properties


class Executor(example_validator.Executor):
    """Fails on any anomaly, whatever its severity."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> ExecutorOutput:
        """Validates as TFX's executor does, with the same inputs, output and properties.

        Raises:
          ValueError: if there is an anomaly; names split, feature and reason of each, and where they are kept.
        """
        output = super().Do(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.ANOMALIES_KEY])
        anomalies = [
            f"  split {split!r}, {line}\n"
            for split in artifact_utils.decode_split_names(artifact.split_names)
            for line in _lines(_read(artifact_utils.get_split_uri([artifact], split)))
        ]
        if anomalies:
            # TFX deletes the outputs of an execution that fails, so what a person needs goes beside them.
            kept = artifact.uri.rstrip("/") + "-refused"
            io_utils.copy_dir(artifact.uri, kept)
            raise ValueError(
                f"The examples do not fit the schema:\n{''.join(anomalies)}"
                f"Correct the data set; or the curated schema, if it is the one that is wrong. Kept in {kept}"
            )
        return output


def _read(split_uri: str) -> anomalies_pb2.Anomalies:
    with fileio.open(os.path.join(split_uri, example_validator.DEFAULT_FILE_NAME), "rb") as file:
        return anomalies_pb2.Anomalies.FromString(file.read())


def _lines(anomalies: anomalies_pb2.Anomalies) -> Iterator[str]:
    """Yields a line for each reason, the features in the order of their names."""
    for feature, info in sorted(anomalies.anomaly_info.items()):
        yield from (f"feature {feature!r}: {reason}" for reason in _reasons(info))
    if anomalies.HasField("dataset_anomaly_info"):
        yield from (f"all features: {reason}" for reason in _reasons(anomalies.dataset_anomaly_info))


def _reasons(info: anomalies_pb2.AnomalyInfo) -> Iterator[str]:
    for reason in info.reason:
        kind = anomalies_pb2.AnomalyInfo.Type.Name(reason.type)
        yield f"{reason.short_description} ({kind}). {reason.description}"


class StrictExampleValidator(ExampleValidator):
    """Compares statistics with a schema and stops the pipeline, where TFX's component only writes anomalies down.

    Constructor, inputs and output (`anomalies`, `standard_artifacts.ExampleAnomalies`) are those of ExampleValidator.
    """

    EXECUTOR_SPEC = ExecutorClassSpec(Executor)
