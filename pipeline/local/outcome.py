"""What a finished run came to, read from its metadata: the evaluation, the gate's answer, model and report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.utils import path_utils

from components.run_report.artifact import REPORT_FILE
from pipeline import create_pipeline

_DONE = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """The result of one run of the pipeline."""

    all_cached: bool
    """No stage had anything to do; the baseline is looked up in every run."""
    model_dir: Path
    """The SavedModel that the Trainer exported."""
    examples_dir: Path
    """The examples, in a folder a split."""
    model_number: str
    """That of the model's folder, Trainer/model/N; the same whenever it comes from the cache."""
    evaluation: Mapping[str, Any]
    """The evaluator's evaluation.json."""
    blessed: bool
    """By the gate on quality; the evaluation holds the reasons where it is not."""
    unservable: str | None
    """Why the serving check refused the model."""
    pushed_dir: Path | None
    """Where TF Serving finds the model; None if it was refused."""
    report: Path
    """The page of the run, of HTML."""


def read_outcome(
    connection: metadata_store_pb2.ConnectionConfig, run_id: str, pipeline_name: str, *, evaluator: str
) -> RunOutcome:
    """Reads the run named `run_id`, whose models the stage `evaluator` judges.

    Raises RuntimeError where one of its stages did not finish: LocalDagRunner goes on past a stage whose inputs cannot
    be resolved, so its return alone says little. Raises it, too, where a model that was pushed has been taken away.
    """
    store = MetadataStore(connection)
    executions = _executions(store, run_id, pipeline_name)
    unfinished = [node for node, execution in executions.items() if execution.last_known_state not in _DONE]
    told = (
        create_pipeline.EXAMPLE_GEN,
        create_pipeline.TRAINER,
        evaluator,
        create_pipeline.SERVING_CHECK,
        create_pipeline.PUSHER,
        create_pipeline.RUN_REPORT,
    )
    unfinished += [node for node in told if node not in executions]
    if unfinished:
        raise RuntimeError(f"These stages did not finish: {', '.join(unfinished)}.")

    model = _output(store, executions[create_pipeline.TRAINER], "model")
    evaluation = _output(store, executions[evaluator], "evaluation")
    pushed_dir = _pushed_dir(_output(store, executions[create_pipeline.PUSHER], "pushed_model"))
    return RunOutcome(
        all_cached=all(
            execution.last_known_state == metadata_store_pb2.Execution.CACHED
            for node, execution in executions.items()
            if node != create_pipeline.BASELINE
        ),
        model_dir=Path(path_utils.serving_model_path(model.uri)),
        examples_dir=Path(_output(store, executions[create_pipeline.EXAMPLE_GEN], "examples").uri),
        model_number=Path(model.uri).name,
        evaluation=json.loads((Path(evaluation.uri) / "evaluation.json").read_text(encoding="utf-8")),
        blessed=_is_blessed(_output(store, executions[evaluator], "blessing")),
        unservable=_unservable(_output(store, executions[create_pipeline.SERVING_CHECK], "blessing")),
        pushed_dir=pushed_dir,
        report=Path(_output(store, executions[create_pipeline.RUN_REPORT], "report").uri) / REPORT_FILE,
    )


def _executions(store: MetadataStore, run_id: str, pipeline_name: str) -> dict[str, metadata_store_pb2.Execution]:
    """The run's executions by node id."""
    run = store.get_context_by_type_and_name("pipeline_run", run_id)
    executions = {}
    for execution in store.get_executions_by_context(run.id):
        for context in store.get_contexts_by_execution(execution.id):
            pipeline, _, node = context.name.partition(".")
            if node and pipeline == pipeline_name:
                executions[node] = execution
    return executions


def _output(store: MetadataStore, execution: metadata_store_pb2.Execution, key: str) -> metadata_store_pb2.Artifact:
    """The one artifact that an execution gave, or took from the cache, under `key`."""
    events = store.get_events_by_execution_ids([execution.id])
    (artifact_id,) = (
        event.artifact_id
        for event in events
        if event.type == metadata_store_pb2.Event.OUTPUT and event.path.steps[0].key == key
    )
    (artifact,) = store.get_artifacts_by_id([artifact_id])
    return artifact


def _pushed_dir(pushed: metadata_store_pb2.Artifact) -> Path | None:
    """Where Pusher, now or in the run whose output the cache gave, has put the model; None if it was not to."""
    if not pushed.custom_properties["pushed"].int_value:
        return None
    directory = Path(pushed.custom_properties["pushed_destination"].string_value)
    if not directory.is_dir():
        raise RuntimeError(
            f"An earlier run has pushed the model to {directory}, and it is no longer there. Copy it back from "
            f"{pushed.uri}, or remove that folder too and run again: the model is then pushed anew."
        )
    return directory


def _unservable(blessing: metadata_store_pb2.Artifact) -> str | None:
    """The reason that ServingCheck has left, in the file in which TFX's InfraValidator says no."""
    if _is_blessed(blessing):
        return None
    return (Path(blessing.uri) / "INFRA_NOT_BLESSED").read_text(encoding="utf-8").strip()


def _is_blessed(blessing: metadata_store_pb2.Artifact) -> bool:
    return blessing.custom_properties["blessed"].int_value == 1
