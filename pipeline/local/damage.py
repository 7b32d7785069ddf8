"""Damage to the artifacts of earlier runs, which fails a run at each try until their folder is removed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2


def describe_damage(metadata_path: Path, folder: Path) -> str:
    """Says what is wrong with the files that the last run has read or taken from the cache, and what to do.

    `folder` is that of the task's runs, in which relative addresses begin. Empty where nothing is seen to be wrong.
    """
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(metadata_path)
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    lines = []
    for artifact in _artifacts(MetadataStore(connection)):
        place = folder / artifact.uri
        if artifact.state == metadata_store_pb2.Artifact.LIVE and (damage := _damage(place)):
            lines.append(damage)
    return "\n".join(lines)


def _artifacts(store: MetadataStore) -> Iterable[metadata_store_pb2.Artifact]:
    """Returns what the last run's stages have read and made, or taken from the cache, in the order of its making."""
    runs = store.get_contexts_by_type("pipeline_run")
    last = max((run.id for run in runs), default=None)
    if last is None:
        return []
    executions = [execution.id for execution in store.get_executions_by_context(last)]
    ids = {event.artifact_id for event in store.get_events_by_execution_ids(executions)} if executions else set()
    return sorted(store.get_artifacts_by_id(list(ids)), key=lambda artifact: artifact.id)


def _damage(place: Path) -> str:
    """What is wrong with an artifact's files, and what to do; empty for nothing that can be seen."""
    remedy = f"Remove the folder {place} and run again: the stage that made it then runs anew."
    if not place.exists():
        return f"{place} is no longer there. Run again: the stage that made it then runs anew."
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    if not files:
        return f"{place} is empty. {remedy}"
    for path in files:
        if path.name.startswith("._") or path.name in (".DS_Store", "Thumbs.db") or path.name.endswith("~"):
            return f"{path} was put there by another program. Remove that file and run again."
        try:
            if path.suffix == ".gz":
                _read_zipped(path)
            elif path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix in (".pb", ".pbtxt") and not path.stat().st_size:
                return f"{path} is empty. {remedy}"
        except (OSError, EOFError, zlib.error, ValueError) as error:
            return f"{path} is damaged ({error}). {remedy}"
    return ""


def _read_zipped(path: Path) -> None:
    with gzip.open(path) as file:
        while file.read(2**20):
            pass
    if not path.stat().st_size:
        raise EOFError("it is empty")
