"""Executors of both evaluators: score the split, judge the model, and write evaluation and blessing."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from typing import ClassVar

import apache_beam as beam
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.declared_component import Artifacts, Properties
from components.evaluator import pushed_versions
from components.evaluator.evaluation import (
    EVALUATION_FILE,
    REPORT_FILE,
    BoundEvaluation,
    ErrorEvaluation,
    Evaluation,
)
from components.evaluator.gate import Verdict, incomparable, judge, latest_other_version
from components.evaluator.moments import Moments, Summary
from components.evaluator.score_split import OVERALL, ScoreSplit
from components.model_artifact import address_for, model_and_split, saved_model_dir
from serving.saved_model import read_task, require_task
from trainer import tasks
from trainer.task import ErrorGate, Gate

_BATCH_SIZE = 128

_LOG = logging.getLogger(__name__)


class EvaluatorExecutor(BaseBeamExecutor):
    """Scores model and baseline together, once; a subclass says for which kind of model."""

    EVALUATION: ClassVar[type[Evaluation]]
    GATE: ClassVar[type[Gate] | type[ErrorGate]]

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        """Evaluates the model, and blesses or refuses it.

        Args:
          input_dict: `model`, `examples` and, if there are any, `baseline_model` and `pushed_versions`.
          output_dict: `evaluation` and `blessing`.
          exec_properties: the gate's limit and `tolerance`, where TASK_DEFAULT is the value of the model's task;
            optionally `split`, and `pushed_models`: a folder of versions whose latest one is the baseline if there is
            no `baseline_model`.

        Raises:
          ValueError: if the split is missing or empty, or a model lacks the signature that scores.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model, model_dir, split = model_and_split(input_dict, exec_properties)
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        gate = self._gate(exec_properties, model_dir)

        baseline = _baseline(input_dict, exec_properties, model_dir)
        ignored = None if baseline is None else incomparable(model_dir, baseline.model_dir)
        if baseline is not None and ignored is not None:
            _LOG.warning("The baseline %s is ignored: %s.", baseline.model_dir, ignored)
        compared = None if ignored else baseline
        slices = self._score(
            examples=input_dict["examples"],
            split=split,
            model_dir=model_dir,
            baseline_dir=None if compared is None else compared.model_dir,
            work_file=os.path.join(evaluation.uri, "slices.json"),
        )
        result = self.EVALUATION(
            model_uri=model.uri,
            task=read_task(model_dir),
            baseline_uri=None if baseline is None else baseline.uri,
            baseline_ignored=ignored,
            split=split,
            gate=gate,
            slices=slices,
            verdict=judge(self.EVALUATION.KIND, slices[OVERALL], gate),
        )
        io_utils.write_string_file(os.path.join(evaluation.uri, EVALUATION_FILE), result.to_json())
        io_utils.write_string_file(os.path.join(evaluation.uri, REPORT_FILE), result.to_markdown())
        _write_blessing(blessing, result.verdict, model=model, baseline=compared)
        if not result.verdict.blessed:
            _LOG.warning("The model %s is not blessed: %s.", model.uri, "; ".join(result.verdict.reasons))

    def _gate(self, exec_properties: Properties, model_dir: str) -> Gate | ErrorGate:
        """Builds the gate, with the numbers of the model's task for those that the run leaves open."""
        numbers = {key: float(exec_properties[key]) for key in (self.EVALUATION.KIND.limit, "tolerance")}
        if tasks.TASK_DEFAULT in numbers.values():
            own = require_task(model_dir).values["gate"]
            numbers = {key: own[key] if value == tasks.TASK_DEFAULT else value for key, value in numbers.items()}
        return self.GATE(**numbers)

    def _score(
        self,
        *,
        examples: list[types.Artifact],
        split: str,
        model_dir: str,
        baseline_dir: str | None,
        work_file: str,
    ) -> dict[str, Summary]:
        """Scores the split and returns the summary of each slice, which the workers pass on in `work_file`."""
        patterns = [io_utils.all_files_pattern(uri) for uri in artifact_utils.get_split_uris(examples, split)]
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(patterns)
                | "Read" >> beam.io.ReadAllFromTFRecord()
                | "ScoreSplit"
                >> ScoreSplit(
                    self.EVALUATION.KIND, model_dir=model_dir, baseline_dir=baseline_dir, batch_size=_BATCH_SIZE
                )
                | "Gather" >> beam.combiners.ToDict()
                | "ToJson" >> beam.Map(_slices_to_json)
                | "Write" >> beam.io.WriteToText(work_file, shard_name_template="")
            )
        with fileio.open(work_file) as file:
            slices = _slices_from_json(file.read())
        fileio.remove(work_file)
        if OVERALL not in slices:
            raise ValueError(f"The split {split!r} is empty: {patterns}. A model cannot be judged on no examples.")
        return slices


class BoundExecutor(EvaluatorExecutor):
    """Judges a generative model by its bound."""

    EVALUATION = BoundEvaluation
    GATE = Gate


class ErrorExecutor(EvaluatorExecutor):
    """Judges a classifier by its error."""

    EVALUATION = ErrorEvaluation
    GATE = ErrorGate


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Baseline:
    """The model to compare with."""

    uri: str
    """The name that reports give it."""
    model_dir: str
    artifact_id: int | None
    """None for a model from the folder that models are pushed to."""


def _baseline(input_dict: Artifacts, exec_properties: Properties, model_dir: str) -> _Baseline | None:
    artifacts = input_dict.get("baseline_model")
    if artifacts:
        artifact = artifact_utils.get_single_instance(artifacts)
        return _Baseline(uri=artifact.uri, model_dir=saved_model_dir(artifact), artifact_id=artifact.id)
    pushed_models = exec_properties.get("pushed_models")
    if not pushed_models:
        return None
    serving_dir = address_for(pushed_models, model_dir)
    pushed_versions.log_changes(input_dict.get("pushed_versions"), serving_dir)
    version = latest_other_version(serving_dir, model_dir)
    return None if version is None else _Baseline(uri=version, model_dir=version, artifact_id=None)


def _slices_to_json(slices: dict[str, Summary]) -> str:
    return json.dumps(
        {name: {score: moments.to_json() for score, moments in summary.items()} for name, summary in slices.items()}
    )


def _slices_from_json(text: str) -> dict[str, Summary]:
    return {
        name: {score: Moments.from_json(moments) for score, moments in summary.items()}
        for name, summary in json.loads(text).items()
    }


def _write_blessing(
    blessing: types.Artifact, verdict: Verdict, *, model: types.Artifact, baseline: _Baseline | None
) -> None:
    """Writes the properties for Pusher and resolvers, and the file for people, with the reasons of a refusal."""
    name = constants.BLESSED_FILE_NAME if verdict.blessed else constants.NOT_BLESSED_FILE_NAME
    reasons = "".join(f"{reason}\n" for reason in verdict.reasons)
    io_utils.write_string_file(os.path.join(blessing.uri, name), reasons)
    blessing.set_int_custom_property(
        constants.ARTIFACT_PROPERTY_BLESSED_KEY,
        constants.BLESSED_VALUE if verdict.blessed else constants.NOT_BLESSED_VALUE,
    )
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if baseline is not None:
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        if baseline.artifact_id is not None:
            blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.artifact_id)
