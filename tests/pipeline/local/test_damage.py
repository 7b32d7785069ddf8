"""Files of earlier runs that were damaged are named, with what to remove; sound ones are not."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata

from pipeline.local.damage import describe_damage

ARTIFACT = "ImageExampleGen/examples/2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of runs whose last run has read one artifact, at a relative address."""
    folder = tmp_path / "runs [1]" / "digits"
    split = folder / ARTIFACT / "Split-train"
    split.mkdir(parents=True)
    (split / "data_tfrecord-00000-of-00001.gz").write_bytes(gzip.compress(1000 * b"example"))
    (folder / ARTIFACT / "evaluation.json").write_text("{}")
    store = MetadataStore(metadata.sqlite_metadata_connection_config(str(folder / "metadata.db")))
    types = [
        store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Examples")),
        store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer")),
        store.put_context_type(metadata_store_pb2.ContextType(name="pipeline_run")),
    ]
    live = metadata_store_pb2.Artifact.LIVE
    artifact = metadata_store_pb2.Artifact(type_id=types[0], uri=f"./{ARTIFACT}", state=live)
    event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.INPUT)
    for number in range(2):
        store.put_execution(
            metadata_store_pb2.Execution(type_id=types[1]),
            [(artifact, event)] if number else [],
            [metadata_store_pb2.Context(type_id=types[2], name=f"run {number}")],
        )
    return folder


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def test_of_sound_files_it_says_nothing(folder: Path) -> None:
    assert describe_damage(folder / "metadata.db", folder) == ""


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda place: next(place.rglob("*.gz")).write_bytes(gzip.compress(b"example" * 9)[:-9]), ".gz is damaged ("),
        (lambda place: next(place.rglob("*.gz")).write_bytes(bytes(100)), ".gz is damaged ("),
        (lambda place: next(place.rglob("*.gz")).write_bytes(b""), ".gz is damaged ("),
        (lambda place: (place / "evaluation.json").write_text('{"overall": {'), "evaluation.json is damaged ("),
        (lambda place: (place / "saved_model.pb").touch(), "saved_model.pb is empty."),
        (_remove, f"{ARTIFACT} is empty."),
    ],
)
def test_a_damaged_file_is_named_with_the_folder_to_remove(
    folder: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(folder / ARTIFACT)
    text = describe_damage(folder / "metadata.db", folder)
    assert words in text and f"Remove the folder {folder / ARTIFACT} and run again" in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("name", [".DS_Store", "data_tfrecord-00000-of-00001.gz~", "._data", "Thumbs.db"])
def test_of_another_programs_file_only_that_is_to_be_removed(folder: Path, name: str) -> None:
    (folder / ARTIFACT / "Split-train" / name).touch()
    text = describe_damage(folder / "metadata.db", folder)
    assert (
        text
        == f"{folder / ARTIFACT}/Split-train/{name} was put there by another program. Remove that file and run again."
    )


def test_a_folder_that_is_gone_is_made_anew_by_the_next_run(folder: Path) -> None:
    _remove(folder / ARTIFACT)
    (folder / ARTIFACT).rmdir()
    text = describe_damage(folder / "metadata.db", folder)
    assert text == f"{folder / ARTIFACT} is no longer there. Run again: the stage that made it then runs anew."
