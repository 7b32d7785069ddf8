"""Whose an output is: of living and dead jobs, and what becomes of their files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from serving.batch import output_claim
from serving.batch.job import Job, score_batch
from serving.batch.model_source import SavedModelSource
from serving.batch.output_claim import Places, claimed, outputs
from serving.beam_job import JobGoesOn
from tests import tiny
from tests.serving.batch.conftest import COUNT

NAMES = ("out", "out [1]", "x*y?")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _ids(prefix: Path) -> list[str]:
    files = [prefix.parent / name for name in _names(prefix.parent) if name.startswith(f"{prefix.name}-scores-")]
    return sorted(row["id"] for file in files for row in pq.ParquetFile(file).read().to_pylist())


@pytest.fixture
def inputs(images: np.ndarray, tmp_path: Path) -> tuple[Path, Path]:
    """Two inputs of 5 and of 3 images, whose ids differ."""
    np.savez(tmp_path / "five.npz", image=images[:5], id=list("abcde"))
    np.savez(tmp_path / "three.npz", image=images[:3], id=list("xyz"))
    return tmp_path / "five.npz", tmp_path / "three.npz"


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_replaced_only_if_they_may_be(
    name: str, model: SavedModelSource, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    prefix = tmp_path / name / name
    five, three = inputs

    def score(source: Path, **options: Any) -> int:
        return int(score_batch(Job(model=model, input=str(source), output=str(prefix), **options))["images"])

    assert score(five, pictures=1) == 5
    beside = prefix.with_name(f"{name}-b-summary.json")  # another job's, whose prefix begins as this one's
    beside.touch()
    before = _names(prefix.parent)
    with pytest.raises(ValueError, match="already, of an earlier job: choose another output, or --overwrite it"):
        score(three)
    assert _names(prefix.parent) == before
    assert _ids(prefix) == list("abcde")
    assert score(three, overwrite=True, file_format="parquet") == 3
    assert _ids(prefix) == list("xyz")
    assert _names(prefix.parent) == {f"{name}-scores-00000-of-00001.parquet", f"{name}-summary.json", beside.name}
    with pytest.raises(ValueError, match="no file matches"):
        score_batch(Job(model=model, input=str(tmp_path / "none*"), output=str(prefix), overwrite=True))
    assert _ids(prefix) == list("xyz")


def test_a_job_that_fails_leaves_what_it_was_to_overwrite(
    model: SavedModelSource, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / "out"
    score_batch(Job(model=model, input=str(inputs[0]), output=str(prefix)))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(SavedModelSource, "open", lambda self: 1 / 0)
    with pytest.raises(Exception, match="division by zero"):
        score_batch(Job(model=model, input=str(inputs[1]), output=str(prefix), overwrite=True))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", NAMES)
def test_two_living_jobs_do_not_share_an_output(name: str, tmp_path: Path) -> None:
    prefix = str(tmp_path / name)
    with claimed(prefix, overwrite=False) as first:
        os.mkdir(first.folder)
        for overwrite in (False, True):
            with (
                pytest.raises(ValueError, match=rf"Process {os.getpid()} of .* has been writing .* since .*: wait"),
                claimed(prefix, overwrite=overwrite),
            ):
                pass
        assert first.is_held
        assert os.path.isdir(first.folder)
        with claimed(f"{prefix}-b", overwrite=False) as other:
            assert other.is_held
        assert first.is_held
    assert _names(tmp_path) == set()


def _holder(**values: Any) -> dict[str, Any]:
    own: dict[str, Any] = json.loads(output_claim._own("0a1b2c3d"))
    return {**own, **values}


DEAD = {
    "no such process": {"pid": 2**22 + 1},
    "another process of that id": {"started": "1"},
    "silent on another host": {"host": "elsewhere/1/pid:[1]"},
}


@pytest.mark.parametrize("why", DEAD)
def test_a_dead_jobs_successor_takes_over_and_cleans_up(why: str, tmp_path: Path) -> None:
    prefix = str(tmp_path / "out [1]")
    dead = Places(prefix, "0a1b2c3d")
    for folder in (dead.folder, f"{prefix}-unfinished-ffffffff", f"{prefix}-b-unfinished-0a1b2c3d"):
        os.mkdir(folder)
        Path(folder, "part").touch()
    Path(dead.claim).write_text(json.dumps(_holder(**DEAD[why])))
    long_ago = time.time() - 3600
    os.utime(dead.claim, (long_ago, long_ago))
    with claimed(prefix, overwrite=False) as places:
        assert places.is_held
        assert not dead.is_held
        assert _names(tmp_path) == {"out [1]-unfinished.json", "out [1]-b-unfinished-0a1b2c3d"}
    assert _names(tmp_path) == {"out [1]-b-unfinished-0a1b2c3d"}


def test_a_job_on_another_host_is_alive_while_it_shows_so(tmp_path: Path) -> None:
    places = Places(str(tmp_path / "out"), "0a1b2c3d")
    Path(places.claim).write_text(json.dumps(_holder(host="elsewhere/1/pid:[1]", pid=1)))
    ten_minutes_ago = time.time() - 600
    os.utime(places.claim, (ten_minutes_ago, ten_minutes_ago))
    refusal = r"Process 1 of .* on elsewhere .* no sign of life for 5 minutes more, it is taken for dead"
    with pytest.raises(ValueError, match=refusal), claimed(places.prefix, overwrite=True):
        pass
    assert places.is_held


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"token": 1}', b"\xff\0"])
def test_a_claim_that_was_never_finished_is_nobodys(content: bytes, tmp_path: Path) -> None:
    places = Places(str(tmp_path / "out"), "0a1b2c3d")
    Path(places.claim).write_bytes(content)
    with claimed(places.prefix, overwrite=False) as successor:
        assert successor.is_held


def test_what_came_into_being_meanwhile_is_not_overwritten(
    model: SavedModelSource, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = SavedModelSource.open

    def open_slowly(self: SavedModelSource) -> Any:
        (tmp_path / "out-scores-00000-of-00001.parquet").write_text("another's")
        return opened(self)

    monkeypatch.setattr(SavedModelSource, "open", open_slowly)
    with pytest.raises(RuntimeError, match="came into being while this job ran: nothing is published"):
        score_batch(Job(model=model, input=str(inputs[0]), output=str(tmp_path / "out")))
    assert _names(tmp_path) == {"five.npz", "three.npz", "out-scores-00000-of-00001.parquet"}
    assert (tmp_path / "out-scores-00000-of-00001.parquet").read_text() == "another's"


def test_a_job_whose_claim_is_withdrawn_publishes_nothing(
    model: SavedModelSource, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that goes on elsewhere after its user has interrupted it here."""
    opened = SavedModelSource.open

    def withdraw(self: SavedModelSource) -> Any:
        os.unlink(tmp_path / "out-unfinished.json")
        return opened(self)

    monkeypatch.setattr(SavedModelSource, "open", withdraw)
    with pytest.raises(RuntimeError, match="is no longer this job's"):
        score_batch(Job(model=model, input=str(inputs[0]), output=str(tmp_path / "out")))
    assert outputs(str(tmp_path / "out")) == []


def test_an_output_in_the_input_is_not_read(model: SavedModelSource, inputs: tuple[Path, Path]) -> None:
    folder = inputs[0].parent
    for _ in range(2):
        summary = score_batch(Job(model=model, input=str(folder), output=str(folder / "out"), overwrite=True))
        assert (summary["images"], summary["rejected"], summary["losses_of_unknown_size"]) == (8, 0, 0)
    passed = {Path(each["path"]).name: each["reason"] for each in summary["passed_over"]["first"]}
    assert passed == dict.fromkeys(
        ["out-scores-00000-of-00001.parquet", "out-summary.json", "out-unfinished.json"], "it is an output of this job"
    )


def test_an_output_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    match = "is a folder: add what the files' names begin with"
    with pytest.raises(ValueError, match=match), claimed(f"{tmp_path}/", overwrite=False):
        pass


@pytest.mark.parametrize(
    ("mode", "number"),
    [
        ("in_memory", signal.SIGINT),
        ("in_memory", signal.SIGKILL),
        *(
            pytest.param(mode, number, marks=pytest.mark.slow)
            for mode, number in (
                ("in_memory", signal.SIGTERM),
                ("multi_threading", signal.SIGINT),
                ("multi_threading", signal.SIGTERM),
                ("multi_processing", signal.SIGINT),
                ("multi_processing", signal.SIGTERM),
            )
        ),
    ],
)
def test_a_job_that_is_ended_leaves_nothing_for_long(
    mode: str, number: signal.Signals, versions: Path, examples: Path, images: np.ndarray, tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "serving.batch", "--model", str(versions), "--input", str(examples)),
        *("--output", str(tmp_path / "out"), "--samples", "100000"),
        *("--", f"--direct_running_mode={mode}", "--direct_num_workers=2"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(tiny.ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        # A line of progress, where the workers are in this process; else the claim and a little time for them.
        if mode == "in_memory":
            assert any("images/s" in line for line in iter(running.stderr.readline, ""))
        else:
            while not (tmp_path / "out-unfinished.json").exists():
                assert running.poll() is None
                time.sleep(0.1)
            while mode == "multi_processing" and not _descendants(running.pid):
                assert running.poll() is None
                time.sleep(0.1)
            time.sleep(3)
            while mode == "multi_processing" and not _descendants(running.pid):
                assert running.poll() is None
                time.sleep(0.1)
        children = _descendants(running.pid)
        assert mode != "multi_processing" or children
        running.send_signal(number)
        errors = running.communicate(timeout=300)[1]
    assert [child for child in children if _command_line(child)] == []
    if number == signal.SIGKILL:
        assert "out-unfinished.json" in _names(tmp_path)
        score = Job(model=SavedModelSource.from_directory(str(versions)), input=str(examples), output=f"{tmp_path}/out")
        assert score_batch(score)["images"] == COUNT
        assert {name.split("-")[1] for name in _names(tmp_path)} == {"scores", "summary.json"}
    else:
        assert running.returncode == 128 + number
        assert errors.endswith("Interrupted: nothing was written.\n")
        assert _names(tmp_path) == set()


def _command_line(process: int) -> bytes:
    """Empty for one that has ended, also where nobody has waited for it."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _descendants(parent: int) -> list[int]:
    below = []
    for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in map(int, tasks.read_text().split()):
            below += [child, *_descendants(child)]
    return below


@pytest.mark.parametrize(("interruption", "left"), [(KeyboardInterrupt, set()), (JobGoesOn, {"out-unfinished"})])
def test_the_folder_stays_where_workers_still_write(
    interruption: type[KeyboardInterrupt], left: set[str], tmp_path: Path
) -> None:
    def interrupted() -> None:
        with claimed(str(tmp_path / "out"), overwrite=False) as places:
            Path(places.folder).mkdir()
            raise interruption

    with pytest.raises(interruption) as caught:
        interrupted()
    assert {name.rpartition("-")[0] for name in _names(tmp_path)} == left
    writes = f"publishes nothing, and until it ends it writes below {tmp_path}/out-unfinished-"
    assert not left or writes in str(caught.value)
    with claimed(str(tmp_path / "out"), overwrite=False):
        assert _names(tmp_path) == {"out-unfinished.json"}
