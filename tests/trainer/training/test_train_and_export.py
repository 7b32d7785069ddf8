"""One job: whose checkpoints it resumes is decided by content, one process at a time, and nothing is left behind."""

from __future__ import annotations

import dataclasses
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer import folder_lock
from trainer.task import ImageFiles, Task
from trainer.training import loop, train_and_export

TASK = tiny.tiny_task({"steps": 4, "warmup_steps": 0, "validation_interval": 5}, glimpses=2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    _write(tmp_path / "br [1]" / "fit", 23)
    _write(tmp_path / "br [1]" / "watch", 13)
    return tmp_path / "br [1]"


def _write(folder: Path, count: int, first: int = 0) -> None:
    tiny.write_examples(folder, tiny.make_images(TASK, first + count)[first:])


@dataclasses.dataclass
class Training:
    """Stands for `loop.train`: writes what that leaves, and remembers how it was called."""

    task: Task = TASK
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    meanwhile: Callable[[], None] = lambda: None

    def __call__(self, task: Task, *, directory: str, **options: Any) -> dict[str, np.ndarray]:
        self.task, self.options = task, {"directory": Path(directory), **options}
        self.meanwhile()
        (Path(directory) / "logs").mkdir(exist_ok=True)
        (Path(directory) / "logs" / "events").touch()
        (Path(directory) / f"ckpt-{task.recipe.steps}.index").touch()
        return {}


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    training = Training()
    monkeypatch.setattr(loop, "train", training)
    # The real ones are for test_loop.py and test_run_fn.py.
    monkeypatch.setattr(train_and_export.exporter, "export", lambda task, weights, folder: None)
    return training


class Job:
    """`draw train` in a folder, and what it says."""

    def __init__(self, root: Path, data: Path) -> None:
        self.root, self.data, self.lines = root, data, []

    def run(self, name: str, task: Task = TASK, **options: Any) -> Path:
        self.lines.clear()
        options = {"train_patterns": [str(self.data / "fit" / "*")], **options}
        assert train_and_export.run(
            task,
            validation_patterns=[str(self.data / "watch")],
            checkpoint_root=str(self.root / "state"),
            model_dir=str(self.root / name),
            report=self.lines.append,
            **options,
        )
        return self.root / name

    def folders(self) -> list[Path]:
        return sorted((self.root / "state").iterdir())


@pytest.fixture
def job(tmp_path: Path, data: Path, training: Training) -> Job:
    return Job(tmp_path, data)


def test_replaced_files_under_the_same_names_start_anew_with_a_line(job: Job, training: Training) -> None:
    job.run("first")
    first = training.options["directory"]
    assert not job.lines
    for path in (job.data / "fit").iterdir():
        path.unlink()
    _write(job.data / "fit", 23, first=30)
    job.run("second")
    assert re.fullmatch(
        "starting anew, for .*state holds checkpoints of other training files, or of files .*", job.lines[0]
    )
    assert training.options["directory"] != first and training.options["shorter_training"] is None


def test_moved_files_and_checkpoints_are_the_same_ones(job: Job, training: Training) -> None:
    job.run("first")
    first = training.options["directory"]
    job.data = job.data.rename(job.data.with_name("elsewhere"))
    (job.root / "moved").mkdir()
    (job.root / "state").rename(job.root / "moved" / "state")
    job.root /= "moved"
    job.run("second")
    assert training.options["directory"] == job.root / "state" / first.name and not job.lines


def test_a_title_a_gate_or_the_place_of_images_makes_no_other_training(job: Job, training: Training) -> None:
    own = ImageFiles(images="/a", train="fit", validation="watch", test="watch")
    job.run("first", dataclasses.replace(TASK, data=own))
    first = training.options["directory"]
    moved = dataclasses.replace(own, images="/b")
    gate = dataclasses.replace(TASK.gate, tolerance=9.0)
    job.run("second", dataclasses.replace(TASK, data=moved, title="Another", gate=gate))
    assert training.options["directory"] == first


def test_more_steps_continue_the_finished_training(job: Job, training: Training) -> None:
    job.run("short")
    short = training.options["directory"]
    job.run("long", TASK.with_steps(6))
    assert training.options["shorter_training"] == str(short) and not job.lines
    job.run("longer", TASK.with_steps(8))
    assert training.options["shorter_training"] != str(short)
    # Neither fewer steps, nor other values, nor another start do.
    for task, options, words in (
        (TASK.with_steps(2), {}, "a training of 8 steps"),
        (dataclasses.replace(TASK.with_steps(9), lstm_units=tiny.UNITS + 1), {}, "a task with other values"),
        (TASK.with_steps(10), {"initial_state": {"path": "x", "sha256": "x"}}, "started from other weights"),
    ):
        job.run(words, task, **options)
        assert job.lines[0].startswith("starting anew") and words in job.lines[0], words
        assert training.options["shorter_training"] is None


def test_an_unfinished_training_is_not_continued_by_a_longer_one(job: Job, training: Training) -> None:
    job.run("short")
    (training.options["directory"] / "ckpt-4.index").rename(training.options["directory"] / "ckpt-3.index")
    job.run("long", TASK.with_steps(6))
    assert training.options["shorter_training"] is None
    assert "a training of 4 steps, which a longer one continues when it is finished" in job.lines[0]


def test_temporary_checkpoints_are_removed_and_continue_nothing(job: Job, training: Training) -> None:
    job.run("kept")
    (kept,) = job.folders()
    job.run("model", TASK.with_steps(6), logs_dir=str(job.root / "logs"))
    assert training.options["shorter_training"] is None and not job.lines
    assert job.folders() == [kept] and [path.name for path in (job.root / "logs").iterdir()] == ["events"]


def test_a_second_process_is_refused(job: Job, training: Training) -> None:
    def meanwhile() -> None:
        training.meanwhile = pytest.fail
        with pytest.raises(folder_lock.FolderHeld, match=f"in use: training, process {os.getpid()} on"):
            job.run("second")

    training.meanwhile = meanwhile
    job.run("first")
    assert not list(job.root.glob("*.partial")) and not (job.root / "second").exists()


def test_a_second_process_with_temporary_checkpoints_waits_and_has_curves_of_its_own(
    job: Job, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two runs of one parameter set on Kubeflow, and a next attempt while the one before still saves."""
    monkeypatch.setattr(folder_lock, "_POLL_SECONDS", 0.05)
    second = Job(job.root, job.data)
    threads: list[threading.Thread] = []
    seen: list[list[str]] = []

    def meanwhile() -> None:
        seen.append(sorted(path.name for path in training.options["directory"].glob("ckpt-*")))
        if not threads:
            options = {"logs_dir": str(job.root / "logs-2")}
            threads.append(threading.Thread(target=second.run, args=("second",), kwargs=options))
            threads[0].start()
            while not second.lines:
                time.sleep(0.05)
            # It waits, and has not begun.
            assert second.lines[0].startswith("waiting for ") and f"process {os.getpid()} on" in second.lines[0]

    training.meanwhile = meanwhile
    job.run("first", logs_dir=str(job.root / "logs-1"))
    threads[0].join(30)
    assert not threads[0].is_alive() and (job.root / "second").is_dir()
    for logs in ("logs-1", "logs-2"):
        assert [path.name for path in (job.root / logs).iterdir()] == ["events"]
    assert seen == [[], []], "the second trains anew, and no step of the first is taken for its own"
    assert job.folders() == []


def test_what_a_killed_export_left_is_removed_though_the_next_goes_elsewhere(job: Job) -> None:
    def killed(task: Task, weights: Any, folder: str) -> None:
        Path(folder, "assets").mkdir()
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_and_export.exporter, "export", killed)
        with pytest.raises(KeyboardInterrupt):
            job.run("attempt-1/model")
    assert (job.root / "attempt-1" / "model.partial" / "assets").exists()
    job.run("attempt-2/model")
    assert not list(job.root.glob("*/*.partial"))


def test_only_abandoned_folders_are_removed(job: Job) -> None:
    days = train_and_export.ABANDONED_DAYS
    removed = f"{16 * 'd'}.removed-01234567"  # by a process that was killed over it
    killed, alive = 16 * "e", 16 * "f"
    ages = {16 * "a": days + 1, 16 * "b": days - 1, 16 * "c": days + 1, removed: days + 1, "mine": days + 1}
    for name, age in {**ages, killed: days + 1, alive: days + 1}.items():
        folder = job.root / "state" / name
        (folder / "logs").mkdir(parents=True)
        if name in (killed, alive):  # in a pod that is gone, and in another pod that has trained for long
            elsewhere = dataclasses.replace(folder_lock.Owner.for_this_process("training"), place="a pod")
            (folder / folder_lock.FILE).write_text(elsewhere.to_text())
        for file in folder.rglob("*"):
            os.utime(file, 2 * (time.time() - age * 24 * 3600,))
        for file in (folder / "ckpt-1.index", folder / "logs" / "events"):
            file.touch()
            os.utime(file, 2 * (time.time() - age * 24 * 3600,))
    (job.root / "state" / alive / folder_lock.FILE).touch()
    with folder_lock.hold(str(job.root / "state" / (16 * "c")), "training"):
        os.utime(job.root / "state" / (16 * "c") / folder_lock.FILE, (0, 0))
        job.run("model", logs_dir=str(job.root / "logs"))
    assert [folder.name for folder in job.folders()] == [16 * "b", 16 * "c", alive, "mine"]


def test_a_folder_that_cannot_be_removed_costs_a_warning_and_no_model(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on NFS, where a file that somebody has open stays under another name."""

    def refuse(path: str) -> None:
        raise tf.errors.FailedPreconditionError(None, None, f"{path}; Directory not empty")

    monkeypatch.setattr(tf.io.gfile, "rmtree", refuse)
    job.run("model", logs_dir=str(job.root / "logs"))
    assert (job.root / "model").is_dir() and (job.root / "logs").is_dir()
    assert "Directory not empty" in caplog.text


@pytest.mark.parametrize("name", [".DS_Store", "data_tfrecord-00000-of-00001.gz~", "._data"])
def test_files_that_are_no_examples_by_their_names_are_passed_over(
    job: Job, training: Training, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (job.data / "fit" / name).write_bytes(b"of another program")
    job.run("model")
    assert len(training.options["train_files"]) == 2
    assert f"Passed over, for they are no examples by their names: {job.data}/fit/{name}" in caplog.text


@pytest.mark.parametrize("pattern", ["nothing/*", "fit/*.npz", "empty"])
def test_a_pattern_without_files_is_named(job: Job, pattern: str) -> None:
    (job.data / "empty").mkdir()
    with pytest.raises(ValueError, match=f"No file of examples matches {re.escape(str(job.data / pattern))}"):
        job.run("model", train_patterns=[str(job.data / pattern)])


@pytest.mark.parametrize(
    "change",
    [{"task": TASK.with_steps(5).to_json()}, {"examples": "other files"}, {"initial_state": "another"}],
    ids=lambda change: next(iter(change)),
)
def test_a_worker_of_another_job_than_the_chiefs_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    inputs = train_and_export._Inputs(task=TASK.to_json(), examples="files", initial_state=None)
    keys: list[int] = []
    monkeypatch.setattr(train_and_export.cluster, "from_chief", lambda strategy, own: keys.append(own) or keys[0])
    for _ in range(2):
        train_and_export._check_same_job(None, inputs)
    with pytest.raises(ValueError, match="started for another task, or with other training files, than the chief"):
        train_and_export._check_same_job(None, dataclasses.replace(inputs, **change))
