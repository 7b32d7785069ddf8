"""The last evaluation of a task's pipeline, with the model and the examples that it was made of."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2


class NoEvaluation(RuntimeError):
    """There is nothing to report of; the message says what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LastEvaluation:
    """What an evaluator found, and where what it judged lies."""

    found: Mapping[str, Any]
    """Its evaluation.json."""
    model_number: str
    """That of the model's folder, Trainer/model/N."""
    model_dir: Path
    """The SavedModel."""
    task: Mapping[str, Any]
    """As it was written beside the model."""
    examples: Path
    """The folder of the split's files."""

    @property
    def model_run(self) -> Path:
        """TensorBoard's view of the training, which the same execution of the Trainer has left beside the model."""
        return self.model_dir.parents[2] / "model_run" / self.model_number


def last_evaluation(metadata_path: Path) -> LastEvaluation:
    """Reads it through the metadata of a local pipeline. Raises NoEvaluation where there is none, or it was deleted."""
    if not metadata_path.exists():
        raise NoEvaluation(f"There is no run here: {metadata_path} does not exist. Train a model with `draw run`.")
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(metadata_path)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    store = MetadataStore(connection)
    evaluations = store.get_artifacts_by_type("ModelEvaluation") if _knows(store, "ModelEvaluation") else []
    if not evaluations:
        raise NoEvaluation(f"No model was evaluated here yet, says {metadata_path}. Run `draw run` to its end.")
    evaluation = max(evaluations, key=lambda artifact: artifact.id)
    inputs = _inputs(store, evaluation)
    model = Path(inputs["model"].uri)
    directory = model / "Format-Serving"
    found = json.loads(_read(Path(evaluation.uri) / "evaluation.json"))
    return LastEvaluation(
        found=found,
        model_number=model.name,
        model_dir=directory,
        task=json.loads(_read(directory / "assets" / "task.json")),
        examples=Path(inputs["examples"].uri) / f"Split-{found['split']}",
    )


def _knows(store: MetadataStore, type_name: str) -> bool:
    return type_name in {known.name for known in store.get_artifact_types()}


def _inputs(store: MetadataStore, output: metadata_store_pb2.Artifact) -> dict[str, metadata_store_pb2.Artifact]:
    """By key, what the execution took that made the artifact."""
    events = store.get_events_by_artifact_ids([output.id])
    made = next(event for event in events if event.type == metadata_store_pb2.Event.OUTPUT)
    taken = {
        event.artifact_id: event.path.steps[0].key
        for event in store.get_events_by_execution_ids([made.execution_id])
        if event.type == metadata_store_pb2.Event.INPUT
    }
    return {taken[artifact.id]: artifact for artifact in store.get_artifacts_by_id(list(taken))}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NoEvaluation(f"{path} is no longer there. Run `draw run` again.") from error
