"""Executor of RunReport: collects the run's artifacts and writes the page."""

from __future__ import annotations

import os

from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.declared_component import Artifacts, Properties
from components.evaluator.evaluation import EVALUATION_FILE
from components.model_artifact import saved_model_dir
from components.run_parameters import RUN_ID_VARIABLE
from components.run_report import report_page
from components.run_report.artifact import REPORT_FILE
from components.run_report.run import Run, full_path
from components.serving_check import refusal

# As in tfx.components.pusher.executor, where this name is private.
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
        pushed_to = inputs["pushed_model"].get_string_custom_property(_PUSHED_DESTINATION_KEY)
        init_from = exec_properties.get("init_from")
        splits = artifact_utils.decode_split_names(examples.split_names)
        run_id = os.environ.get(RUN_ID_VARIABLE)
        run = Run(
            # Trainer/model/N on one machine, and else a folder that is called `model` in every run.
            name=f"run {run_id}" if run_id else f"model {os.path.basename(model.uri.rstrip('/'))}",
            run_id=run_id,
            model_dir=saved_model_dir(model),
            logs_dir=inputs["model_run"].uri,
            evaluation_file=os.path.join(inputs["evaluation"].uri, EVALUATION_FILE),
            split_dirs={split: artifact_utils.get_split_uri([examples], split) for split in splits},
            counts={split: _count(artifact_utils.get_split_uri([statistics], split)) for split in splits},
            unservable=refusal(blessing),
            pushed_to=full_path(pushed_to) if pushed_to else None,
            init_from=full_path(init_from) if init_from else None,
        )
        page = report_page.render(run)
        report = artifact_utils.get_single_instance(output_dict["report"])
        io_utils.write_string_file(os.path.join(report.uri, REPORT_FILE), page.html)
        report.set_string_custom_property("failed_sections", "\n".join(page.failed_sections))


def _count(split_uri: str) -> int:
    """Reads the number of examples in a split from StatisticsGen's output."""
    with fileio.open(os.path.join(split_uri, statistics_gen.DEFAULT_FILE_NAME), "rb") as file:
        (statistics,) = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read()).datasets
    return int(statistics.num_examples)
