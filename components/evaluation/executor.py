"""The executor of both evaluators: scores the split, asks for the verdict, and writes report and blessing."""

from __future__ import annotations

import abc
import dataclasses
import json
import logging
import os
from typing import Any

import apache_beam as beam
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, path_utils

from components import exported_task
from components.evaluation.baseline import incomparable
from components.evaluation.moments import Moments, Summary
from components.evaluation.pushed_models import latest_other
from components.evaluation.report import Evaluation
from components.evaluation.scoring import OVERALL, ScoreSplit, Scoring
from components.evaluation.verdict import Verdict
from trainer import tasks

SPLIT_KEY = "split"
TOLERANCE_KEY = "tolerance"
PUSHED_MODELS_KEY = "pushed_models"

EVALUATION_FILE = "evaluation.json"
REPORT_FILE = "report.md"

_BATCH_SIZE = 128

_LOG = logging.getLogger(__name__)


class EvaluatingExecutor(BaseBeamExecutor, abc.ABC):
    """Scores once, model and baseline together."""

    @property
    @abc.abstractmethod
    def evaluation_class(self) -> type[Evaluation]:
        """Of the models' kind."""

    @abc.abstractmethod
    def thresholds(self, exec_properties: dict[str, Any]) -> Any:
        """The gate's numbers."""

    @abc.abstractmethod
    def decide(self, overall: Summary, thresholds: Any) -> Verdict:
        """Judges the summary of a whole split; with a baseline where it was scored too."""

    def details(self, model_dir: str) -> dict[str, Any]:
        """Fields that the evaluation of this kind has beside those of all."""
        del model_dir
        return {}

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates and blesses, or refuses.

        Args:
          input_dict: `model`, `examples` and, if there is one, `baseline_model`.
          output_dict: `evaluation` and `blessing`.
          exec_properties: `tolerance` and the gate's greatest value, each maybe TASK_DEFAULT; maybe `split`; and
            maybe `pushed_models`: a folder of versions, the latest of which is the baseline where no `baseline_model`
            is given.

        Raises:
          ValueError: where the split is missing or empty, or a model lacks the signature that is asked.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        evaluation = artifact_utils.get_single_instance(output_dict[standard_component_specs.EVALUATION_KEY])
        blessing = artifact_utils.get_single_instance(output_dict[standard_component_specs.BLESSING_KEY])
        model_dir = _saved_model(model)
        split = exec_properties.get(SPLIT_KEY) or exported_task.judging_split(model_dir)
        thresholds = self.thresholds(_with_own_gate(exec_properties, model_dir))

        baseline = _baseline(input_dict, exec_properties, model_dir)
        ignored = None if baseline is None else incomparable(model_dir, baseline.model_dir)
        if baseline is not None and ignored is not None:
            _LOG.warning("The baseline %s is ignored: %s.", baseline.model_dir, ignored)
        compared = None if ignored else baseline
        slices = self._score(
            self.evaluation_class.SCORING,
            examples=input_dict[standard_component_specs.EXAMPLES_KEY],
            split=split,
            model_dir=model_dir,
            baseline_dir=None if compared is None else compared.model_dir,
            work_file=os.path.join(evaluation.uri, "slices.json"),
        )
        verdict = self.decide(slices[OVERALL], thresholds)
        found = self.evaluation_class(
            model_uri=model.uri,
            baseline_uri=None if baseline is None else baseline.uri,
            baseline_ignored=ignored,
            split=split,
            thresholds=thresholds,
            slices=slices,
            verdict=verdict,
            **self.details(model_dir),
        )
        io_utils.write_string_file(os.path.join(evaluation.uri, EVALUATION_FILE), found.to_json())
        io_utils.write_string_file(os.path.join(evaluation.uri, REPORT_FILE), found.to_markdown())
        _write_blessing(blessing, verdict, model=model, baseline=compared)
        if not verdict.blessed:
            _LOG.warning("The model %s is not blessed: %s.", model.uri, "; ".join(verdict.reasons))

    def _score(
        self,
        scoring: Scoring,
        *,
        examples: list[types.Artifact],
        split: str,
        model_dir: str,
        baseline_dir: str | None,
        work_file: str,
    ) -> dict[str, Summary]:
        """The summary of each slice. The workers hand it over in `work_file`, which is gone afterwards."""
        patterns = [io_utils.all_files_pattern(uri) for uri in artifact_utils.get_split_uris(examples, split)]
        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Files" >> beam.Create(patterns)
                | "Read" >> beam.io.ReadAllFromTFRecord()
                | ScoreSplit(scoring, model_dir=model_dir, baseline_dir=baseline_dir, batch_size=_BATCH_SIZE)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Baseline:
    """The model to compare with."""

    uri: str
    """As reports name it."""
    model_dir: str
    artifact_id: int | None
    """None of a model that was found where models are pushed to."""


def _baseline(
    input_dict: dict[str, list[types.Artifact]], exec_properties: dict[str, Any], model_dir: str
) -> _Baseline | None:
    artifacts = input_dict.get(standard_component_specs.BASELINE_MODEL_KEY)
    if artifacts:
        artifact = artifact_utils.get_single_instance(artifacts)
        return _Baseline(uri=artifact.uri, model_dir=_saved_model(artifact), artifact_id=artifact.id)
    pushed_models = exec_properties.get(PUSHED_MODELS_KEY)
    if not pushed_models:
        return None
    found = latest_other(exported_task.address_for(pushed_models, model_dir), model_dir)
    return None if found is None else _Baseline(uri=found, model_dir=found, artifact_id=None)


def _with_own_gate(exec_properties: dict[str, Any], model_dir: str) -> dict[str, Any]:
    """The properties, with what the gate of the model's task says in place of each TASK_DEFAULT."""
    if tasks.TASK_DEFAULT not in exec_properties.values():
        return exec_properties
    gate = exported_task.require(model_dir)["gate"]
    return {key: gate[key] if value == tasks.TASK_DEFAULT else value for key, value in exec_properties.items()}


def _saved_model(model: types.Artifact) -> str:
    return path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))


def _slices_to_json(slices: dict[str, Summary]) -> str:
    return json.dumps(
        {
            name: {quantity: moments.to_json() for quantity, moments in summary.items()}
            for name, summary in slices.items()
        }
    )


def _slices_from_json(text: str) -> dict[str, Summary]:
    return {
        name: {quantity: Moments.from_json(moments) for quantity, moments in summary.items()}
        for name, summary in json.loads(text).items()
    }


def _write_blessing(
    blessing: types.Artifact, verdict: Verdict, *, model: types.Artifact, baseline: _Baseline | None
) -> None:
    """The properties are for Pusher and resolvers; the file is for people, so NOT_BLESSED says why."""
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
