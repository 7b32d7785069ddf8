"""Verdict: a run's judgements in, nothing out; fails where the model was refused."""

from __future__ import annotations

import json
import os

from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts

from components.declared_component import Artifacts, DeclaredComponent, Properties
from components.evaluator.evaluation import EVALUATION_FILE
from components.run_report.artifact import RunReport
from components.serving_check import refusal


class Executor(BaseExecutor):
    """Says of a refused model what the gates say."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        """Raises ValueError with the reasons where the evaluation or the serving check refused the model."""
        self._log_startup(input_dict, output_dict, exec_properties)
        evaluation = artifact_utils.get_single_instance(input_dict["evaluation"])
        with fileio.open(os.path.join(evaluation.uri, EVALUATION_FILE)) as file:
            reasons = list(json.loads(file.read())["reasons"])
        if unservable := refusal(artifact_utils.get_single_instance(input_dict["infra_blessing"])):
            reasons.append(unservable)
        if reasons:
            raise ValueError(f"The model was refused: {'; '.join(reason.rstrip('.') for reason in reasons)}.")


class Verdict(
    DeclaredComponent,
    executor=Executor,
    inputs={
        "evaluation": standard_artifacts.ModelEvaluation,
        "infra_blessing": standard_artifacts.InfraBlessing,
        "report": RunReport,
    },
):
    """Fails a run whose model was refused, once all else of it is done.

    To a gate a refusal is a result, so where nothing but a failed run is looked at, this has to be the last stage.

    Args:
      evaluation: the evaluator's, with its reasons against the model.
      infra_blessing: the serving check's.
      report: the run's page, which is written before.
    """
