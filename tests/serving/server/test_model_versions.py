"""What is loaded, unloaded and tried again, with loads that a test can fail, hold up and count."""

from __future__ import annotations

import functools
import gc
import itertools
import pathlib
import shutil
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator

import grpc
import pytest

from serving.saved_model import GRAPH_FILE
from serving.server import model_versions, version_folders
from serving.server.model_versions import All, Latest, ModelVersions, State, Status, VersionPolicy
from serving.server.servable import Servable
from serving.server.served_models import ModelConfig, ServedModels
from serving.server.status_error import StatusError
from tests import waiting

wait_for = functools.partial(waiting.wait_for, seconds=10)

_TIMEOUT = 0.3
_SOON = 10.0
"""On a busy machine; a load that is held up takes six times as long."""


class Loads:
    """A `Load` that raises what `errors` has for a path, and waits where `stalls` has an event."""

    def __init__(self) -> None:
        self.counts: Counter[pathlib.Path] = Counter()
        self.times: list[float] = []
        self.errors: dict[pathlib.Path, Exception] = {}
        self.stalls: dict[pathlib.Path, threading.Event] = {}

    def __call__(self, model: str, version: int, path: pathlib.Path, report: Callable[[str], None]) -> Servable:
        self.counts[path] += 1
        self.times.append(time.monotonic())
        if path in self.stalls:
            report("reads a file that does not answer")
            self.stalls[path].wait(60)
        if path in self.errors:
            raise self.errors[path]
        return Servable(model, version, path, {}, None)


@pytest.fixture
def loads() -> Iterator[Loads]:
    made = Loads()
    yield made
    for stall in made.stalls.values():
        stall.set()


@pytest.fixture
def watch(tmp_path: pathlib.Path, loads: Loads) -> Iterator[Callable[..., ModelVersions]]:
    made: list[ModelVersions] = []

    def start(
        base: pathlib.Path,
        policy: VersionPolicy = Latest(),  # noqa: B008
        poll_seconds: float = 0.02,
        load_timeout: float = _TIMEOUT,
    ) -> ModelVersions:
        versions = ModelVersions(
            "m", base, policy, loads, poll_seconds=poll_seconds, load_timeout=load_timeout, on_change=lambda: None
        )
        made.append(versions)
        return versions

    yield start
    for versions in made:
        versions.stop()


@pytest.fixture
def base(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "m"


def _add(folder: pathlib.Path, content: bytes = b"") -> pathlib.Path:
    folder.mkdir(parents=True)
    (folder / GRAPH_FILE).write_bytes(content)
    return folder.resolve()


def _path(versions: ModelVersions, version: int | None = None) -> pathlib.Path | None:
    servable = versions.acquire(version)
    if servable is None:
        return None
    servable.release()
    return servable.path


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, None])
def test_what_fails_without_the_files_fault_is_tried_again_less_and_less_often(
    base: pathlib.Path,
    loads: Loads,
    watch: Callable[..., ModelVersions],
    monkeypatch: pytest.MonkeyPatch,
    code: grpc.StatusCode | None,
) -> None:
    monkeypatch.setattr(model_versions, "_RETRY_SECONDS", 0.1)
    path = _add(base / "1")
    loads.errors[path] = OSError(24, "Too many open files") if code is None else StatusError(code, "later")
    # Where the folder is looked at once only, too.
    versions = watch(base, poll_seconds=0)
    wait_for(lambda: loads.counts[path] == 4)
    pauses = [after - before for before, after in itertools.pairwise(loads.times)]
    assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True)), pauses
    wait_for(lambda: versions.statuses()[1].error is not None)
    assert versions.statuses()[1].state == State.END
    del loads.errors[path]
    wait_for(lambda: versions.available() == [1])
    assert versions.statuses()[1].error is None


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DATA_LOSS])
def test_files_at_fault_are_tried_again_when_they_change_and_not_before(
    base: pathlib.Path,
    loads: Loads,
    watch: Callable[..., ModelVersions],
    monkeypatch: pytest.MonkeyPatch,
    code: grpc.StatusCode,
) -> None:
    monkeypatch.setattr(model_versions, "_RETRY_SECONDS", 0.01)
    path = _add(base / "1")
    loads.errors[path] = StatusError(code, "broken")
    versions = watch(base)
    wait_for(lambda: 1 in versions.statuses() and versions.statuses()[1].state == State.END)
    time.sleep(0.3)
    assert loads.counts[path] == 1
    del loads.errors[path]
    (path / "more").touch()
    wait_for(lambda: versions.available() == [1])
    assert loads.counts[path] == 2


def test_a_load_that_is_late_holds_up_nothing_and_counts_when_it_ends(
    base: pathlib.Path, loads: Loads, watch: Callable[..., ModelVersions]
) -> None:
    first, late = _add(base / "1"), base.resolve() / "2"
    versions = watch(base, All())
    assert versions.look() and _path(versions) == first
    loads.stalls[late] = threading.Event()
    _add(base / "2")
    began = time.monotonic()
    assert versions.look()
    assert time.monotonic() - began < _SOON
    status = versions.statuses()[2]
    assert status.state == State.LOADING
    assert status.error is not None and status.error.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "still reads a file that does not answer" in status.error.message
    _add(base / "3")
    wait_for(lambda: versions.available() == [1, 3])
    assert _path(versions, 1) == first and loads.counts[late] == 1
    loads.stalls[late].set()
    wait_for(lambda: versions.available() == [1, 2, 3])


def test_a_late_load_that_nobody_wants_any_more_is_dropped(
    base: pathlib.Path, loads: Loads, watch: Callable[..., ModelVersions]
) -> None:
    late = _add(base / "2")
    loads.stalls[late] = threading.Event()
    versions = watch(base)
    wait_for(lambda: loads.counts[late] == 1)
    _add(base / "3")
    wait_for(lambda: versions.available() == [3])
    wait_for(lambda: versions.statuses()[2].state == State.END)
    loads.stalls[late].set()
    time.sleep(0.1)
    assert versions.available() == [3]


def test_stop_and_retire_wait_for_no_load(
    base: pathlib.Path, loads: Loads, watch: Callable[..., ModelVersions]
) -> None:
    path = _add(base / "1")
    loads.stalls[path] = threading.Event()
    versions = watch(base, load_timeout=60.0)
    looking = threading.Thread(target=versions.look)
    looking.start()
    wait_for(lambda: loads.counts[path] == 1)
    began = time.monotonic()
    versions.retire()
    looking.join(60)
    assert time.monotonic() - began < _SOON
    loads.stalls[path].set()
    time.sleep(0.05)
    assert versions.available() == []


def test_a_folder_that_does_not_answer_is_given_up_by_those_who_wait(
    base: pathlib.Path, watch: Callable[..., ModelVersions], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    find = version_folders.find_versions
    monkeypatch.setattr(version_folders, "find_versions", lambda path: answer.wait(60) and find(path))
    _add(base / "1")
    versions = watch(base)
    assert not versions.look()
    answer.set()
    wait_for(lambda: versions.available() == [1])


@pytest.mark.parametrize("kind", ["folder of versions", "version", "link to each version"])
def test_a_link_that_is_switched_serves_what_it_leads_to(
    tmp_path: pathlib.Path, watch: Callable[..., ModelVersions], kind: str
) -> None:
    """As git-sync and Kubernetes do with `..data`; the number may be the same."""
    one, two = _add(tmp_path / "revision-a" / "7"), _add(tmp_path / "revision-b" / "7")
    link, served = {
        "folder of versions": (tmp_path / "link", tmp_path / "link"),
        "version": (tmp_path / "link", tmp_path / "link"),
        "link to each version": (tmp_path / "served" / "..data", tmp_path / "served"),
    }[kind]

    def lead_to(revision: str) -> None:
        target = tmp_path / revision / ("7" if kind == "version" else "")
        fresh = link.with_name("fresh")
        fresh.symlink_to(target)
        fresh.rename(link)

    if kind == "link to each version":
        served.mkdir()
        (served / "7").symlink_to("..data/7")
    lead_to("revision-a")
    versions = watch(served)
    wait_for(lambda: _path(versions) == one)
    old = versions.acquire(None)
    assert old is not None
    lead_to("revision-b")
    states = set()

    def led() -> bool:
        states.add(versions.statuses()[7].state)
        return _path(versions) == two

    wait_for(led)
    # It answers all the while, and the old one is there until its last holder has left.
    assert states == {State.AVAILABLE}
    old.release()
    shutil.rmtree(tmp_path / "revision-a")
    assert versions.look() and _path(versions) == two


def test_a_link_to_a_revision_that_is_broken_leaves_the_served_one(
    tmp_path: pathlib.Path, loads: Loads, watch: Callable[..., ModelVersions]
) -> None:
    one, two = _add(tmp_path / "a" / "7"), _add(tmp_path / "b" / "7")
    loads.errors[two] = StatusError(grpc.StatusCode.DATA_LOSS, "half a file")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "a")
    versions = watch(link)
    wait_for(lambda: _path(versions) == one)
    link.unlink()
    time.sleep(0.1)
    link.symlink_to(tmp_path / "b")
    wait_for(lambda: versions.statuses()[7].error is not None)
    assert versions.statuses()[7].state == State.AVAILABLE and _path(versions) == one


def test_a_version_is_unloaded_when_its_last_holder_has_left(
    base: pathlib.Path, watch: Callable[..., ModelVersions]
) -> None:
    _add(base / "1")
    versions = watch(base)
    wait_for(lambda: versions.available() == [1])
    holders = [versions.acquire(1), versions.acquire(None)]
    _add(base / "2")
    wait_for(lambda: versions.available() == [2])
    for holder in holders:
        assert versions.look() and versions.statuses()[1].state == State.UNLOADING
        assert holder is not None and versions.acquire(1) is None
        holder.release()
    wait_for(lambda: versions.statuses()[1].state == State.END)


def test_a_folder_without_versions_says_what_it_has_instead(
    base: pathlib.Path, watch: Callable[..., ModelVersions], caplog: pytest.LogCaptureFixture
) -> None:
    _add(base / "v1")
    (base / "README.md").touch()
    versions = watch(base)
    assert versions.look() and versions.look() and versions.statuses() == {}
    (message,) = [message for message in caplog.messages if str(base) in message]
    assert f"no folder named by a version's number, such as {base / '1'}; it has only README.md, v1." in message


def test_a_version_that_cannot_be_read_hides_no_other(
    base: pathlib.Path, loads: Loads, watch: Callable[..., ModelVersions], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that somebody else is copying, with rights for himself alone."""
    is_file = pathlib.Path.is_file

    def refuse(path: pathlib.Path) -> bool:
        if path.parent.name == "3":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(pathlib.Path, "is_file", refuse)
    loads.errors[_add(base / "3")] = StatusError(grpc.StatusCode.UNAVAILABLE, "Permission denied")
    _add(base / "2")
    versions = watch(base, All())
    wait_for(lambda: versions.available() == [2])
    wait_for(lambda: "Permission denied" in str(versions.statuses()[3].error))
    _add(base / "4")
    wait_for(lambda: versions.available() == [2, 4])


def test_models_on_a_disk_that_does_not_answer_are_given_up_together(
    tmp_path: pathlib.Path, loads: Loads, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(version_folders, "find_versions", lambda path: answer.wait(60) and {})
    models = ServedModels(loads, poll_seconds=0, load_timeout=_TIMEOUT)
    began = time.monotonic()
    try:
        models.configure({str(number): ModelConfig(base_path=tmp_path / str(number)) for number in range(20)})
        # One after the other they take 26 s.
        assert time.monotonic() - began < 2 * _SOON
    finally:
        answer.set()
        models.stop()


def test_many_threads_acquire_while_versions_come_and_go(
    base: pathlib.Path, watch: Callable[..., ModelVersions]
) -> None:
    _add(base / "1")
    versions = watch(base, poll_seconds=0.005)
    wait_for(lambda: versions.available() == [1])
    stop = threading.Event()
    failures: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            servable = versions.acquire(None)
            if servable is None or not servable.in_use:
                failures.append("none")
            else:
                servable.release()

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    for version in range(2, 12):
        _add(base / str(version))
        wait_for(lambda version=version: versions.available() == [version])
    stop.set()
    for caller in callers:
        caller.join()
    assert not failures
    wait_for(lambda: all(status.state == State.END for v, status in versions.statuses().items() if v != 11))


def test_a_version_that_failed_keeps_nothing_of_what_was_loaded(
    base: pathlib.Path, loads: Loads, watch: Callable[..., ModelVersions], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error's traceback holds the frames that raised it, and they the model."""

    class Model:
        pass

    loaded: list[weakref.ref[Model]] = []

    def fail(*_: object) -> Servable:
        model = Model()
        loaded.append(weakref.ref(model))
        try:
            raise IndexError("a file is cut")
        except IndexError as error:
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error

    monkeypatch.setattr(Loads, "__call__", fail)
    _add(base / "1")
    versions = watch(base)
    wait_for(lambda: versions.statuses().get(1, Status(State.LOADING)).state == State.END)
    wait_for(lambda: gc.collect() >= 0 and loaded[0]() is None)
    assert "a file is cut" in str(versions.statuses()[1].error)
