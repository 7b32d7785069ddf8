"""The last evaluation of a task's pipeline, with the model and the examples that it judged."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2

Event = metadata_store_pb2.Event


class NoEvaluation(RuntimeError):
    """There is nothing to report on; the message says what to do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LastEvaluation:
    """An evaluator's result, with the places of what it judged."""

    metrics: Mapping[str, Any]
    """`count` of the examples, and by name the mean of a metric with its spread."""
    split: str
    blessed: bool
    model_number: str
    """Number of the model's folder, Trainer/model/N."""
    model_dir: Path
    """The SavedModel."""
    task: Mapping[str, Any]
    """The task as it was written beside the model."""
    examples: Path
    """Folder of the split's files."""

    @property
    def model_run(self) -> Path:
        """TensorBoard's logs of the training, an output of the same execution of the Trainer."""
        return self.model_dir.parents[2] / "model_run" / self.model_number


def last_evaluation(metadata_path: Path) -> LastEvaluation:
    """Reads the last run's evaluation, made then or taken from the cache, through the metadata of a local pipeline.

    Raises NoEvaluation where there is none, or its files were deleted or damaged.
    """
    if not metadata_path.exists():
        raise NoEvaluation(f"There is no run here: {metadata_path} does not exist. Train a model with `draw run`.")
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(metadata_path)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    try:
        uri, inputs = _query(MetadataStore(connection))
    except (errors.StatusError, RuntimeError) as error:
        problem = str(error).partition(":")[0]
        raise NoEvaluation(
            f"{metadata_path} cannot be used: {problem}. Bring back a copy of it; or move it away, and run `draw run` "
            "again."
        ) from error
    if uri is None:
        raise NoEvaluation(f"No model was evaluated here yet, says {metadata_path}. Run `draw run` to its end.")
    # Addresses are relative to the folder of the task's runs, so that it can be moved.
    folder = metadata_path.parent
    model = folder / inputs["model"].uri
    model_dir = model / "Format-Serving"
    evaluation = _read_json(folder / uri / "evaluation.json")
    return LastEvaluation(
        metrics=evaluation["overall"],
        split=evaluation["split"],
        blessed=evaluation["blessed"],
        model_number=model.name,
        model_dir=model_dir,
        task=_read_json(model_dir / "assets" / "task.json"),
        examples=folder / inputs["examples"].uri / f"Split-{evaluation['split']}",
    )


def _query(store: MetadataStore) -> tuple[str | None, dict[str, metadata_store_pb2.Artifact]]:
    """Returns the address of the last run's evaluation, None for none, and by key the inputs of its stage."""
    types = {artifact_type.name for artifact_type in store.get_artifact_types()}
    evaluations = store.get_artifacts_by_type("ModelEvaluation") if "ModelEvaluation" in types else []
    if not evaluations:
        return None, {}
    uris = {artifact.id: artifact.uri for artifact in evaluations}
    # By execution: the newest artifact may be another run's, where the last one had its evaluation from the cache.
    last = max(
        (event for event in store.get_events_by_artifact_ids(list(uris)) if event.type == Event.OUTPUT),
        key=lambda event: event.execution_id,
    )
    keys = {
        event.artifact_id: event.path.steps[0].key
        for event in store.get_events_by_execution_ids([last.execution_id])
        if event.type == Event.INPUT
    }
    return uris[last.artifact_id], {keys[each.id]: each for each in store.get_artifacts_by_id(list(keys))}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NoEvaluation(f"{path} is no longer there. Run `draw run` again.") from error
    except ValueError as error:
        raise NoEvaluation(f"{path} is damaged ({error}). `draw run` says what to remove.") from error
