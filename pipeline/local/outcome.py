"""The outcome of a finished run, read from its metadata: evaluation, verdicts, model and report."""

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

_FINISHED = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """The outcome of one run of the pipeline."""

    all_cached: bool
    """Whether every stage came from the cache; Baseline, which is looked up in every run, does not count."""
    model_dir: Path
    """The SavedModel that the Trainer exported."""
    examples_dir: Path
    """Examples, with a folder for each split."""
    model_number: str
    """Number of the model's folder, Trainer/model/N; the same whenever it comes from the cache."""
    evaluation: Mapping[str, Any]
    """The evaluator's evaluation.json."""
    blessed: bool
    """Whether the gate on quality passed the model; if not, the evaluation holds the reasons."""
    unservable: str | None
    """Why the serving check refused the model."""
    pushed_dir: Path | None
    """Where TF Serving finds the model; None if it was refused."""
    report: Path
    """The run's HTML page."""


def read_outcome(
    connection: metadata_store_pb2.ConnectionConfig, run_id: str, pipeline_name: str, *, evaluator: str
) -> RunOutcome:
    """Reads the outcome of the run named `run_id`, whose model the stage `evaluator` judged.

    Raises RuntimeError where one of its stages did not finish: LocalDagRunner goes on past a stage whose inputs cannot
    be resolved, so its return alone says little. Raises it, too, where a pushed model is no longer there.
    """
    store = MetadataStore(connection)
    # Addresses are relative to the folder of the task's runs, so that it can be moved.
    folder = Path(connection.sqlite.filename_uri).parent
    executions = _executions(store, run_id, pipeline_name)
    unfinished = [node for node, execution in executions.items() if execution.last_known_state not in _FINISHED]
    needed = (
        create_pipeline.EXAMPLE_GEN,
        create_pipeline.TRAINER,
        evaluator,
        create_pipeline.SERVING_CHECK,
        create_pipeline.PUSHER,
        create_pipeline.RUN_REPORT,
    )
    unfinished += [node for node in needed if node not in executions]
    if unfinished:
        raise RuntimeError(f"These stages did not finish: {', '.join(unfinished)}.")

    model = _output(store, executions[create_pipeline.TRAINER], "model")
    evaluation = _output(store, executions[evaluator], "evaluation")
    pushed_dir = _pushed_dir(folder, _output(store, executions[create_pipeline.PUSHER], "pushed_model"))
    return RunOutcome(
        all_cached=all(
            execution.last_known_state == metadata_store_pb2.Execution.CACHED
            for node, execution in executions.items()
            if node != create_pipeline.BASELINE
        ),
        model_dir=folder / path_utils.serving_model_path(model.uri),
        examples_dir=folder / _output(store, executions[create_pipeline.EXAMPLE_GEN], "examples").uri,
        model_number=Path(model.uri).name,
        evaluation=json.loads((folder / evaluation.uri / "evaluation.json").read_text(encoding="utf-8")),
        blessed=_is_blessed(_output(store, executions[evaluator], "blessing")),
        unservable=_unservable(folder, _output(store, executions[create_pipeline.SERVING_CHECK], "blessing")),
        pushed_dir=pushed_dir,
        report=folder / _output(store, executions[create_pipeline.RUN_REPORT], "report").uri / REPORT_FILE,
    )


def _executions(store: MetadataStore, run_id: str, pipeline_name: str) -> dict[str, metadata_store_pb2.Execution]:
    """Returns the run's executions by node id."""
    run = store.get_context_by_type_and_name("pipeline_run", run_id)
    executions = {}
    for execution in store.get_executions_by_context(run.id):
        for context in store.get_contexts_by_execution(execution.id):
            pipeline, _, node = context.name.partition(".")
            if node and pipeline == pipeline_name:
                executions[node] = execution
    return executions


def _output(store: MetadataStore, execution: metadata_store_pb2.Execution, key: str) -> metadata_store_pb2.Artifact:
    """Returns the one artifact of an execution under `key`, whether made or taken from the cache."""
    events = store.get_events_by_execution_ids([execution.id])
    (artifact_id,) = (
        event.artifact_id
        for event in events
        if event.type == metadata_store_pb2.Event.OUTPUT and event.path.steps[0].key == key
    )
    (artifact,) = store.get_artifacts_by_id([artifact_id])
    return artifact


def _pushed_dir(folder: Path, pushed: metadata_store_pb2.Artifact) -> Path | None:
    """Returns the folder to which Pusher has pushed the model, now or in the cached run; None if it has not."""
    if not pushed.custom_properties["pushed"].int_value:
        return None
    directory = folder / pushed.custom_properties["pushed_destination"].string_value
    if not directory.is_dir():
        raise RuntimeError(
            f"An earlier run has pushed the model to {directory}, and it is no longer there. Copy it back from "
            f"{folder / pushed.uri}, or remove that folder too and run again: the model is then pushed anew."
        )
    return directory


def _unservable(folder: Path, blessing: metadata_store_pb2.Artifact) -> str | None:
    """Returns ServingCheck's reason for refusing, which lies where TFX's InfraValidator leaves its own."""
    if _is_blessed(blessing):
        return None
    return (folder / blessing.uri / "INFRA_NOT_BLESSED").read_text(encoding="utf-8").strip()


def _is_blessed(blessing: metadata_store_pb2.Artifact) -> bool:
    return blessing.custom_properties["blessed"].int_value == 1
