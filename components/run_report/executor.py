"""Executor of RunReport: collects the run's artifacts and writes the page."""

from __future__ import annotations

import os

from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx import types
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.declared_component import Artifacts, Properties
from components.evaluator.evaluation import EVALUATION_FILE
from components.model_artifact import saved_model_dir
from components.run_report import report_page
from components.run_report.artifact import REPORT_FILE
from components.run_report.run import Run

# As in tfx.components.infra_validator.executor and pusher.executor, where these names are private.
_BLESSED_KEY = "blessed"
_NOT_BLESSED_FILE = "INFRA_NOT_BLESSED"
_PUSHED_DESTINATION_KEY = "pushed_destination"


class Executor(BaseExecutor):
    """Writes the page, calling the model in this process as the evaluators do."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        """Writes the page, and the names of the sections that failed as a property of the report.

        Args:
          input_dict: the component's inputs.
          output_dict: `report`.
          exec_properties: `init_from`.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        inputs = {key: artifact_utils.get_single_instance(artifacts) for key, artifacts in input_dict.items()}
        model = inputs["model"]
        examples = inputs["examples"]
        statistics = inputs["statistics"]
        blessing = inputs["infra_blessing"]
        pushed = inputs["pushed_model"]
        splits = artifact_utils.decode_split_names(examples.split_names)
        run = Run(
            model_number=os.path.basename(model.uri.rstrip("/")),
            model_dir=saved_model_dir(model),
            logs_dir=inputs["model_run"].uri,
            evaluation_file=os.path.join(inputs["evaluation"].uri, EVALUATION_FILE),
            split_dirs={split: artifact_utils.get_split_uri([examples], split) for split in splits},
            counts={split: _count(artifact_utils.get_split_uri([statistics], split)) for split in splits},
            unservable=_unservable(blessing),
            pushed_to=_full_path(pushed.get_string_custom_property(_PUSHED_DESTINATION_KEY)),
            init_from=exec_properties.get("init_from"),
        )
        page = report_page.render(run)
        report = artifact_utils.get_single_instance(output_dict["report"])
        io_utils.write_string_file(os.path.join(report.uri, REPORT_FILE), page.html)
        report.set_string_custom_property("failed_sections", "\n".join(page.failed_sections))


def _full_path(path: str) -> str | None:
    """A path as a reader of the page needs it: that of a local run begins at the run's folder. None for none."""
    return (path if "://" in path else os.path.abspath(path)) if path else None


def _count(split_uri: str) -> int:
    """Reads the number of examples in a split from StatisticsGen's output."""
    with fileio.open(os.path.join(split_uri, statistics_gen.DEFAULT_FILE_NAME), "rb") as file:
        (statistics,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read()).datasets
    return int(statistics.num_examples)


def _unservable(blessing: types.Artifact) -> str | None:
    """Reads the serving check's reason for a refusal; None if it blessed the model."""
    if blessing.get_int_custom_property(_BLESSED_KEY):
        return None
    with fileio.open(os.path.join(blessing.uri, _NOT_BLESSED_FILE)) as file:
        return str(file.read()).strip()
