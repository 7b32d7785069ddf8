"""The batch job on an object store: input, output, the claim, and what a killed job left there."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from apache_beam.io.filesystems import FileSystems
from click.testing import CliRunner

from pipeline.cli.main import main
from serving.batch import output_claim
from serving.batch.output_claim import Places
from tests.serving.batch.object_store import OBJECTS

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
