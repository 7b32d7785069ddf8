"""The batch job on an object store: input, output, the claim, and what a killed job left there."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from apache_beam.io.filesystems import FileSystems
from click.testing import CliRunner
from PIL import Image

from pipeline.cli.main import main
from serving import file_systems, staged_model
from serving.batch import output_claim
from serving.batch.output_claim import Places
from serving.file_systems import connect
from serving.images import input_files
from serving.images.input_files import find_inputs
from tests import tiny
from tests.serving.batch.object_store import LISTED, OBJECTS, ObjectStore
from trainer.task import Binarisation, ImageFiles

BUCKET = "teststore://bucket"


@pytest.fixture(autouse=True)
def store(images: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With two files of images, an object that marks their folder, and Beam's options not set yet."""
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    for name, part in {"a.npy": images[:5], "b.npy": images[5:8]}.items():
        file = io.BytesIO()
        np.save(file, part)
        OBJECTS[f"{BUCKET}/in/{name}"] = (file.getvalue(), time.time())
    OBJECTS[f"{BUCKET}/in/"] = (b"", time.time())
    LISTED.clear()
    yield
    OBJECTS.clear()


def _draw(versions: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["score-batch", "--model", str(versions), *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


def _outputs() -> set[str]:
    return {path.removeprefix(f"{BUCKET}/out/") for path in OBJECTS if path.startswith(f"{BUCKET}/out/")}


@pytest.mark.parametrize("name", ["in/", "in", "in/*.npy"])
def test_input_and_output_may_be_in_a_bucket(name: str, versions: Path) -> None:
    status, said = _draw(versions, "--input", f"{BUCKET}/{name}", "--output", f"{BUCKET}/out/x")
    assert (status, "8 images scored" in said) == (0, True), said
    assert _outputs() == {"x-scores-00000-of-00001.parquet", "x-summary.json"}
    status, said = _draw(versions, "--input", f"{BUCKET}/{name}", "--output", f"{BUCKET}/out/x")
    assert (status, "choose another output" in said) == (1, True)
    words = ("--input", f"{BUCKET}/in/b.npy", "--output", f"{BUCKET}/out/x", "--overwrite", "--format", "csv")
    status, said = _draw(versions, *words)
    assert (status, "3 images scored" in said) == (0, True), said
    assert _outputs() == {"x-scores-00000-of-00001.csv", "x-summary.json"}


def test_a_whole_bucket_is_input_and_no_output(versions: Path) -> None:
    status, said = _draw(versions, "--input", BUCKET, "--output", BUCKET)
    assert (status, f"is a folder: add what the files' names begin with, as {BUCKET}/scores." in said) == (1, True)
    status, said = _draw(versions, "--input", BUCKET, "--output", f"{BUCKET}/scores")
    assert (status, "8 images scored" in said) == (0, True), said


def test_no_more_of_a_bucket_is_listed_than_the_names_of_input_and_output(versions: Path) -> None:
    status, said = _draw(versions, "--input", f"{BUCKET}/in/a.npy", "--output", f"{BUCKET}/x")
    assert status == 0, said
    assert LISTED and all(prefix.startswith((f"{BUCKET}/in", f"{BUCKET}/x-")) for prefix in LISTED), LISTED


def test_an_output_may_have_brackets_in_its_name(versions: Path) -> None:
    """For patterns of Beam's they stand for a choice of letters, and nothing would be seen."""
    words = ("--input", f"{BUCKET}/in/", "--output", f"{BUCKET}/out/run [1]/x*")
    status, said = _draw(versions, *words)
    assert status == 0, said
    assert _outputs() == {"run [1]/x*-scores-00000-of-00001.parquet", "run [1]/x*-summary.json"}
    status, said = _draw(versions, *words)
    assert (status, "choose another output" in said) == (1, True)
    OBJECTS[f"{BUCKET}/out/run [1]/x*-unfinished-0a1b2c3d/part"] = (b"half", time.time())
    OBJECTS[f"{BUCKET}/out/run 11/xy-unfinished-0a1b2c3d/part"] = (b"another's", time.time())
    status, said = _draw(versions, *words, "--overwrite")
    assert status == 0, said
    assert {name for name in _outputs() if "unfinished" in name} == {"run 11/xy-unfinished-0a1b2c3d/part"}


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_a_job_that_scores_nothing_ends_there_too(file_format: str, versions: Path, images: np.ndarray) -> None:
    for name in ("a.npy", "b.npy"):
        file = io.BytesIO()
        np.save(file, images[:5] + 7)
        OBJECTS[f"{BUCKET}/in/{name}"] = (file.getvalue(), time.time())
    words = ("--input", f"{BUCKET}/in/", "--output", f"{BUCKET}/out/x", "--format", file_format)
    status, said = _draw(versions, *words)
    assert (status, "Nothing was scored." in said) == (3, True), said
    assert {name.partition("-000")[0] for name in _outputs()} >= {"x-rejected", "x-summary.json"}


@pytest.mark.parametrize("silent", [0.0, 3600.0])
def test_a_claim_in_a_bucket_ends_with_its_job(silent: float, versions: Path) -> None:
    places = Places(f"{BUCKET}/out/x", "0a1b2c3d")
    holder = {**json.loads(output_claim._own(places.token)), "host": "elsewhere"}
    OBJECTS[places.claim] = (json.dumps(holder).encode(), time.time() - silent)
    OBJECTS[f"{places.folder}/part.parquet"] = (b"", time.time() - silent)
    status, said = _draw(versions, "--input", f"{BUCKET}/in/", "--output", places.prefix)
    if silent:
        assert status == 0, said
        assert _outputs() == {"x-scores-00000-of-00001.parquet", "x-summary.json"}
    else:
        assert (status, "on elsewhere has been writing" in said) == (1, True)
        assert _outputs() == {"x-unfinished.json", "x-unfinished-0a1b2c3d/part.parquet"}


def test_a_name_without_an_object_is_an_error(versions: Path) -> None:
    status, said = _draw(versions, "--input", f"{BUCKET}/none", "--output", f"{BUCKET}/out/x")
    assert (status, "no file matches" in said) == (1, True)
    assert _outputs() == set()


@pytest.mark.parametrize("error", [None, PermissionError("wrong key")])
def test_a_store_that_does_not_answer_is_told_in_time(
    error: Exception | None, versions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error is an answer, and what it says is for the first look at a real object to tell."""
    released = threading.Event()

    def exists(store: ObjectStore, path: str) -> bool:
        if error is not None and path == f"{BUCKET}/draw":
            raise error
        return released.wait(60) if error is None else path in OBJECTS

    monkeypatch.setattr(ObjectStore, "exists", exists)
    if error is None:
        monkeypatch.setattr(file_systems, "_ANSWER_SECONDS", 0.5)
    status, said = _draw(versions, "--input", f"{BUCKET}/in/", "--output", f"{BUCKET}/out/x")
    released.set()
    if error is None:
        line = f"Error: {BUCKET} has not answered for 0 seconds at its default endpoint: check the network and the"
        assert (status, said.startswith(line)) == (1, True), said
    else:
        assert status == 0, said


@pytest.mark.parametrize("folder", ["plain", "br [1]", "x*y", "what?", "["])
def test_what_exists_in_a_bucket_stands_for_itself(folder: str) -> None:
    names = [f"{folder}/a.npy", f"{folder}/b[0].npy", f"{folder}/deeper [2]/c*.npz"]
    for name in [*names, "br 1/a.npy", "xzy/a.npy", "what1/a.npy"]:  # those that patterns of these names match
        OBJECTS[f"{BUCKET}/odd/{name}"] = (b"1", time.time())
    connect([BUCKET])

    def listed(*names: str) -> set[str]:
        files = input_files.list_files(find_inputs([f"{BUCKET}/odd/{name}" for name in names]))
        return {file.path.removeprefix(f"{BUCKET}/odd/") for file in files}

    for name in names:
        assert listed(name) == {name}
    del OBJECTS[f"{BUCKET}/odd/br 1/a.npy"], OBJECTS[f"{BUCKET}/odd/xzy/a.npy"], OBJECTS[f"{BUCKET}/odd/what1/a.npy"]
    assert listed(folder) == listed(f"{folder}/") == {*names}
    assert listed("*/*.npy") == {*names[:2]} and listed("*/") == {*names[:2]}


def test_a_store_that_refuses_to_write_is_one_line(versions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StoreError(Exception):
        def __init__(self, message: str, code: int) -> None:
            self.message, self.code = message, code

    def create(store: ObjectStore, path: str, mime_type: str = "", compression_type: str = "") -> io.BytesIO:
        logging.error("a traceback", stack_info=True)  # as S3's file system does
        raise StoreError("An error occurred (NoSuchBucket)", 404)

    monkeypatch.setattr(ObjectStore, "create", create)
    status, said = _draw(versions, "--input", f"{BUCKET}/in/", "--output", f"{BUCKET}/out/x")
    assert status == 1
    line = f"Error: {BUCKET}/out/x-* cannot be written: StoreError: An error occurred (NoSuchBucket)\n"
    assert said == line


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://", "s3:// names no bucket: give s3://BUCKET/NAME."),
        ("gs:///in", "gs:///in names no bucket: give gs://BUCKET/NAME."),
        ("TESTSTORE://bucket/in", "TESTSTORE://bucket/in: write teststore:// in small letters."),
    ],
)
def test_an_address_that_can_be_none_is_refused_at_once(address: str, message: str, versions: Path) -> None:
    for words in (("--input", address, "--output", "x"), ("--input", f"{BUCKET}/in/", "--output", address)):
        status, said = _draw(versions, *words)
        assert (status, said) == (1, f"Error: {message}\n")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9", "http://127.0.0.1:9", "ftp://store"])
def test_an_endpoint_that_is_none_or_where_nothing_listens_is_named(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    is_url = endpoint.startswith("http")
    with pytest.raises(OSError if is_url else ValueError, match=re.escape(endpoint)):
        connect(["s3://bucket/x", "here"], [f"--s3_endpoint_url={endpoint}"])


def test_paths_ask_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(["here", "/there/*", "tfds:mnist"], ["--s3_endpoint_url=http://127.0.0.1:9"])
    assert FileSystems._pipeline_options is None


def test_own_images_may_be_in_a_bucket(tmp_path: Path) -> None:
    from tests.components.ingestion import by_id, ingest, records

    for number in range(30):
        picture = io.BytesIO()
        Image.fromarray(np.random.RandomState(number).randint(0, 256, (14, 10)).astype(np.uint8)).save(picture, "PNG")
        OBJECTS[f"{BUCKET}/photos/{number}.png"] = (picture.getvalue(), time.time())
    OBJECTS[f"{BUCKET}/photos/"] = (b"", time.time())
    task = tiny.tiny_task(data=ImageFiles(images=f"{BUCKET}/photos"), binarisation=Binarisation.NONE)
    examples = ingest(task, tmp_path, tmp_path / "examples")
    splits = [by_id(records(examples, split)) for split in task.data.splits]
    assert sum(map(len, splits)) == 30 and all(splits)
    assert FileSystems._pipeline_options is not None


def _upload(folder: Path, address: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            OBJECTS[f"{address}/{file.relative_to(folder)}"] = (file.read_bytes(), time.time())
    OBJECTS[f"{address}/"] = (b"", time.time())


def test_a_model_in_a_bucket_is_copied_once_and_by_its_content(
    versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    address = f"{BUCKET}/models"
    _upload(versions, address)
    OBJECTS[f"{address}/9/saved_model.pb"] = (b"the graph, without its variables yet", time.time())
    for name in ("saved_model.pb", "variables/variables.index"):
        OBJECTS[f"{address}/8/{name}"] = (b"small, and so there before the values", time.time())
    words = ("--input", f"{BUCKET}/in/", "--output", f"{BUCKET}/out/x", "--format", "csv")
    result = CliRunner().invoke(main, ["score-batch", "--model", address, *words])
    assert (result.exit_code, "8 images scored" in result.output) == (0, True), result.output
    (table,) = (content for path, (content, _) in OBJECTS.items() if path.endswith(".csv"))
    assert {row["model_version"] for row in csv.DictReader(table.decode().splitlines())} == {"3"}
    (copy,) = (tmp_path / "draw-tfx" / "models").glob("*/*")
    assert copy.name == "3" and {path.name for path in copy.parent.iterdir()} == {"3"}
    before = copy.stat().st_mtime_ns
    assert staged_model.stage(address).directory == str(copy) and copy.stat().st_mtime_ns == before
    # The same version, written anew.
    OBJECTS[f"{address}/3/assets/task.json"] = (OBJECTS[f"{address}/3/assets/task.json"][0], 1.0)
    assert staged_model.stage(address).directory != str(copy)
    assert staged_model.stage(f"{address}/3").address == f"{address}/3"


def test_a_model_in_a_bucket_answers_without_a_server(
    versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _upload(versions, f"{BUCKET}/models")
    picture = tmp_path / "x.png"
    result = CliRunner().invoke(main, ["sample", "--model", f"{BUCKET}/models", "-o", str(picture)])
    assert (result.exit_code, picture.is_file()) == (0, True), result.output
    result = CliRunner().invoke(main, ["sample", "--model", f"{BUCKET}/none", "-o", str(tmp_path / "y.png")])
    assert result.exit_code == 1
    assert f"There is no model at {BUCKET}/none: expected a SavedModel, or its numbered versions" in result.output


def test_a_copy_that_fails_leaves_no_half_of_it(
    versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    _upload(versions, f"{BUCKET}/models")
    connect([BUCKET])
    opened = ObjectStore.open

    def fail(store: ObjectStore, path: str, mime_type: str = "", compression_type: str = "") -> io.BytesIO:
        return io.BytesIO(b"short") if path.endswith(".pb") else opened(store, path)

    monkeypatch.setattr(ObjectStore, "open", fail)
    with pytest.raises(OSError, match="changed while it was read"):
        staged_model.stage(f"{BUCKET}/models")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    monkeypatch.setattr(ObjectStore, "open", opened)
    assert Path(staged_model.stage(f"{BUCKET}/models").directory, "saved_model.pb").is_file()
