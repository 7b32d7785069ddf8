"""A run whose parameters cannot be ends in its first stage, with one line that says which and what could be."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from components import parameter_check
from components.evaluator.pushed_versions import PushedVersions
from components.parameter_check import Executor
from trainer import tasks


def _check(**changes: object) -> dict[str, str]:
    """Returns the fingerprints of what is pushed."""
    parameters = {
        "limit_name": "max_nll_bound",
        "task": "digits",
        "steps": tasks.TASK_DEFAULT,
        "train_examples": tasks.TASK_DEFAULT,
        "limit": float(tasks.TASK_DEFAULT),
        "tolerance": float(tasks.TASK_DEFAULT),
        "data_dir": "",
        "checkpoint_root": f"{tempfile.gettempdir()}/checkpoints",
        "serving_dir": f"{tempfile.gettempdir()}/serving/{{task}}",
    }
    assert not set(changes) - set(parameters)
    pushed = PushedVersions()
    with tempfile.TemporaryDirectory() as folder:
        pushed.uri = folder
        Executor().Do({}, {"pushed_versions": [pushed]}, {**parameters, **changes})
        content = json.loads(Path(folder, "versions.json").read_text())
    versions: dict[str, str] = content["versions"]
    return versions


@pytest.mark.parametrize("name", tasks.NAMES)
def test_each_task_is_one_of_its_own_pipeline_alone(name: str) -> None:
    for limit_name in ("max_nll_bound", "max_error"):
        if limit_name == tasks.get(name).kind.limit:
            _check(task=name, limit_name=limit_name)
        else:
            with pytest.raises(ValueError, match=rf"'{name}' has no {limit_name}.*compiled with TASK={name}\.$"):
                _check(task=name, limit_name=limit_name)


def test_a_run_may_say_it_all(tmp_path: Path) -> None:
    _check(task="mnist", steps=2000, limit=95.0, tolerance=0.0, data_dir=str(tmp_path), serving_dir=str(tmp_path))
    _check(task="two_digit_mnist", train_examples=7)


def test_what_is_pushed_already_is_an_output(tmp_path: Path) -> None:
    """By it a cache sees what the evaluator and Pusher find in a folder."""
    assert _check(serving_dir=f"{tmp_path}/{{task}}") == {}
    for version in ("7", "9", "unfinished"):
        (tmp_path / "digits" / version).mkdir(parents=True)
    (tmp_path / "digits" / "7" / "saved_model.pb").touch()
    assert _check(serving_dir=f"{tmp_path}/{{task}}") == {"7": ""}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "minst"}, "There is no task 'minst'. The tasks are: digits, mnist"),
        ({"steps": 0}, "recipe.steps is 0: it must be positive"),
        ({"steps": -2}, "recipe.steps is -2"),
        ({"train_examples": 5}, "digits:1.0.0 has a fixed number"),
        ({"tolerance": -0.5}, "gate.tolerance is -0.5"),
        ({"limit_name": "max_error", "task": "cluttered_mnist", "limit": 1.5}, "gate.max_error is 1.5"),
        ({"checkpoint_root": "s3://bucket/c"}, "checkpoint_root is s3://bucket/c, and TensorFlow cannot open s3://"),
        ({"serving_dir": "minio://bucket/s"}, "serving_dir is minio://.* Give a path on a volume that is mounted"),
        ({"data_dir": "~/tensorflow_datasets"}, "data_dir is ~/tensorflow_datasets: give an absolute path"),
        ({"data_dir": "/no/such/folder"}, "data_dir is /no/such/folder, and there is no such folder"),
        # Whether or not there is a network: nobody has this one.
        (
            {"serving_dir": "gs://draw-tfx-nobodys/{task}"},
            "serving_dir is gs://draw-tfx-nobodys/.*, and (its bucket|gs://)",
        ),
    ],
)
def test_what_cannot_be_is_told(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        _check(**changes)
    assert "\n" not in str(told.value)


@contextlib.contextmanager
def _user(identity: int) -> Iterator[None]:
    """Another user than root, whom no mode keeps from writing."""
    if os.geteuid() == 0:
        os.seteuid(identity)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A fresh volume: of root's, as Kubernetes mounts it where a pod has no fsGroup."""
    folder = tmp_path / "volume"
    folder.mkdir(mode=0o755)
    for parent in (tmp_path, *tmp_path.parents[:-1]):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    return folder


@pytest.mark.parametrize("name", ["checkpoint_root", "serving_dir", "data_dir"])
def test_a_volume_that_the_stages_cannot_write_to_is_told_with_the_owner_it_needs(volume: Path, name: str) -> None:
    places = {place: str(volume.parent / "own") for place in ("checkpoint_root", "serving_dir", "data_dir")}
    (volume.parent / "own").mkdir()
    (volume.parent / "own").chmod(0o777)
    volume.chmod(0o555)
    places[name] = str(volume if name == "data_dir" else volume / "below" / "{task}")
    with _user(1000):
        user = os.geteuid()
        with pytest.raises(ValueError, match=f"^{name} is .* nothing can be written to {volume}: Permi") as told:
            _check(**places)
        assert f"chown {user}:{os.getegid()} {volume}" in str(told.value) and "mode 555" in str(told.value)
        volume.parent.joinpath("own", "probe").touch()
    volume.chmod(0o777)
    with _user(1000):
        _check(**places)
    assert list(volume.iterdir()) == [], "nothing stays"


def test_no_owner_is_asked_for_where_that_is_not_the_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"nothing can be written to .*/file: Not a directory\.$"):
        _check(serving_dir=str(tmp_path / "file" / "serving"))

    class FullDisk(io.StringIO):
        def close(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(path: str, mode: str) -> io.StringIO:
        Path(path).touch()
        return FullDisk()

    monkeypatch.setattr(parameter_check, "open", opened, raising=False)
    with pytest.raises(ValueError, match=r"nothing can be written to .*: No space left on device\.$"):
        _check(serving_dir=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nothing stays"


def test_data_that_are_there_may_be_on_a_volume_that_can_only_be_read(volume: Path) -> None:
    (volume / "digits" / "1.0.0").mkdir(parents=True)
    volume.chmod(0o555)
    own = volume.parent / "own"
    own.mkdir()
    own.chmod(0o777)
    with _user(1000):
        _check(data_dir=str(volume), checkpoint_root=str(own), serving_dir=str(own))


def test_a_bucket_that_the_account_only_reads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class ReadOnly:
        def __init__(self, *_: object) -> None:
            raise tf.errors.PermissionDeniedError(None, None, "gs://b/f; 403 Forbidden\nat google.cpp")

    monkeypatch.setattr(tf.io.gfile, "exists", lambda _: True)
    monkeypatch.setattr(tf.io.gfile, "GFile", ReadOnly)
    with pytest.raises(ValueError, match=r"written to gs://b/checkpoints: 403 Forbidden\. The account of these stages"):
        _check(checkpoint_root="gs://b/checkpoints")
