"""How a job's files get to their places: in which order, and when Beam retries the bundle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apache_beam.io.filesystems import FileSystems

from serving.batch.account import RejectedRows
from serving.batch.blocks import Refused
from serving.batch.elements import Scored
from serving.batch.estimate import Estimate
from serving.batch.job import Job, score_batch
from serving.batch.output_claim import Places, claimed, outputs
from serving.batch.publish import Publish
from serving.batch.summary import Summarise, Summary
from serving.client.answers import Scores
from serving.images.image_elements import PassedOverFiles, Place
from serving.images.image_format import ImageFormat


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    """With two files of scores and one of rejected rows, written and not yet published."""
    with claimed(str(tmp_path / "out"), overwrite=False) as places:
        folder = Path(places.folder)
        folder.mkdir()
        for name in ("a.csv", "b.csv", "c.jsonl"):
            (folder / name).write_text(name)
        yield places


def _summary() -> Summary:
    estimate = Estimate(1, 5.0, 3.0, 2.0, 0.0, -5.0)
    batch = [Scored(b"a", Place("a.png"), estimate, np.ones((3, 2, 1), np.float32))]
    combine = Summarise(most_likely=1, least_likely=1)
    return combine.add_input(combine.create_accumulator(), batch)


def _publish(places: Places) -> list[str]:
    return list(Publish(places, {"samples": 1}, 6, overwrite=False).process(_outcome(places)))


def _outcome(places: Places) -> dict[str, Any]:
    scores, rejected = _written(places)
    return {
        "scored": _summary(),
        "rejected": RejectedRows(1, 0),
        "passed_over": PassedOverFiles(0, ()),
        "score_files": scores,
        "rejected_files": rejected,
    }


def _written(places: Places) -> tuple[list[str], list[str]]:
    """Files of scores and of rejected rows; in no order, as Beam gives them."""
    return [f"{places.folder}/b.csv", f"{places.folder}/a.csv"], [f"{places.folder}/c.jsonl"]


NAMES = {
    "out-scores-00000-of-00002.csv",
    "out-scores-00001-of-00002.csv",
    "out-rejected-00000-of-00001.jsonl",
    "out-most-likely.png",
    "out-least-likely.png",
    "out-summary.json",
}


def test_the_summary_comes_last(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, rename = [], FileSystems.rename

    def record(sources: list[str], targets: list[str]) -> None:
        moved.extend(Path(target).name for target in targets)
        rename(sources, targets)

    monkeypatch.setattr(FileSystems, "rename", record)
    assert _publish(places) == [places.summary]
    assert set(moved) == NAMES and moved[-1] == "out-summary.json"
    assert {Path(path).name for path in outputs(places.prefix)} == NAMES


@pytest.mark.parametrize("published", ["all", "some"])
def test_a_bundle_that_beam_retries_finds_its_work_done(places: Places, published: str) -> None:
    scores, _ = _written(places)
    publish = Publish(places, {"samples": 1}, 6, overwrite=False)
    if published == "all":
        assert list(publish.process(_outcome(places))) == [places.summary]
    else:
        # As a worker leaves it that died after the first file.
        (Path(places.folder) / "publishing").touch()
        FileSystems.rename([scores[1]], [f"{places.prefix}-scores-00000-of-00002.csv"])
    assert list(publish.process(_outcome(places))) == [places.summary]
    assert {Path(path).name for path in outputs(places.prefix)} == NAMES
    assert Path(f"{places.prefix}-scores-00000-of-00002.csv").read_text() == "a.csv"
    assert Path(f"{places.prefix}-scores-00001-of-00002.csv").read_text() == "b.csv"
    assert json.loads(Path(places.summary).read_text())["rejected"] == 1


class _FailingScorer:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def score(self, image: np.ndarray, seed: np.ndarray) -> Scores:
        raise self._error


class _FailingModel:
    """A model whose server went away, or that refuses everything."""

    images = ImageFormat(shape=(3, 2, 1), binary=True)
    version = "1"
    reference = "It has none."

    def __init__(self, error: Exception) -> None:
        self._error = error

    def open(self) -> _FailingScorer:
        return _FailingScorer(self._error)


@pytest.mark.parametrize("error", [ConnectionError("the server went away"), ValueError("no such number")])
def test_an_error_that_is_no_refusal_fails_the_job_and_leaves_nothing(error: Exception, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros((3, 3, 2), np.uint8))
    job = Job(model=_FailingModel(error), input=str(tmp_path / "in.npy"), output=str(tmp_path / "out"))
    with pytest.raises(type(error), match=str(error)):
        score_batch(job)
    assert [path.name for path in tmp_path.iterdir()] == ["in.npy"]


def test_a_refusal_rejects_the_image_and_not_the_job(tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", np.zeros((3, 3, 2), np.uint8))
    refuses = _FailingModel(Refused("not these"))
    summary = score_batch(Job(model=refuses, input=str(tmp_path / "in.npy"), output=str(tmp_path / "out")))
    assert (summary["images"], summary["rejected"]) == (0, 3)
