"""Versions that do not answer, come late, are broken or are taken away, while callers ask over both protocols."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import pathlib
import re
import shutil
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

from serving.server import Server, ServerConfig, memory_budget, models_from_folder, version_loader
from serving.server.status_error import StatusError
from tests.serving import tiny_servable
from tests.serving.tiny_servable import NAME, Client, State, predict_log, request, rows
from tests.waiting import wait_for

_POLL = 0.05
_WORST_SECONDS = 10.0
"""On a busy machine, where a model is loaded beside; whoever waits for a disk that does not answer waits longer."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Version 1 of the model, to be copied."""
    base = tmp_path_factory.mktemp("saved") / NAME
    tiny_servable.save(base, 1, offset=1.0, warm_up=[predict_log(request(rows(1)))])
    return base / "1"


@pytest.fixture
def base(tmp_path: pathlib.Path, saved: pathlib.Path) -> pathlib.Path:
    shutil.copytree(saved, tmp_path / NAME / "1")
    return tmp_path / NAME


@pytest.fixture
def stalls() -> Iterator[list[pathlib.Path]]:
    """Pipes that stand for files on a disk that does not answer; in the end it does, so that no thread is left."""
    made: list[pathlib.Path] = []
    yield made
    for pipe in made:
        with contextlib.suppress(OSError):
            os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


def _add(saved: pathlib.Path, version: pathlib.Path, stalled: str | None = None) -> pathlib.Path | None:
    """Copies the version into place, whole, but for one file that does not answer."""
    unfinished = version.with_name(f"unfinished-{version.name}")
    shutil.copytree(saved, unfinished)
    if stalled is not None:
        (unfinished / stalled).unlink()
        os.mkfifo(unfinished / stalled)
    unfinished.rename(version)
    return None if stalled is None else version / stalled


def _served(base: pathlib.Path, **options: object) -> Server:
    return Server(ServerConfig(models=models_from_folder(base), file_system_poll_wait_seconds=_POLL, **options))


def _ask_rest(server: Server, label: str | None = None) -> float:
    path = f"/v1/models/{NAME}{f'/labels/{label}' if label else ''}:predict"
    body = json.dumps({"signature_name": "double", "inputs": [[0, 1, 2]]}).encode()
    asked = urllib.request.Request(
        f"http://127.0.0.1:{server.rest_port}{path}", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return float(json.loads(answer.read())["outputs"]["y"][0][0])


def _offset(client: Client, **spec: object) -> float:
    return float(client.predict(request(rows(0), **spec))["y"][0, 0])


@contextlib.contextmanager
def _callers(server: Server) -> Iterator[list[float]]:
    """Asks over both protocols all the while, and fails if an answer fails; yields the seconds that each took."""
    stop = threading.Event()
    waits: list[float] = []
    failures: list[Exception] = []

    def ask(call: Callable[[], float]) -> None:
        while not stop.is_set():
            began = time.monotonic()
            try:
                call()
            except Exception as error:
                failures.append(error)
            waits.append(time.monotonic() - began)
            time.sleep(0.005)

    with tiny_servable.client(server.grpc_port) as client:
        calls = [lambda: _offset(client), lambda: _ask_rest(server)]
        threads = [threading.Thread(target=ask, args=(call,)) for call in calls]
        for thread in threads:
            thread.start()
        try:
            yield waits
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert not failures, failures[:3]


def _status(client: Client, version: int) -> get_model_status_pb2.ModelVersionStatus:
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = NAME
    rows = client.models.GetModelStatus(asked, timeout=20).model_version_status
    return next((row for row in rows if row.version == version), get_model_status_pb2.ModelVersionStatus())


_FILES = [
    "variables/variables.index",
    "variables/variables.data-00000-of-00001",
    "assets.extra/tf_serving_warmup_requests",
]


def test_files_that_do_not_answer_stop_nobody(
    base: pathlib.Path, saved: pathlib.Path, stalls: list[pathlib.Path]
) -> None:
    # Long enough to come to the file on a busy machine.
    server = _served(base, load_timeout_seconds=1.5)
    server.start()
    tiny_servable.wait_until_available(server, NAME)
    with tiny_servable.client(server.grpc_port) as client:
        with _callers(server) as waits:
            for version, file in enumerate(_FILES, 2):
                pipe = _add(saved, base / str(version), file)
                assert pipe is not None
                stalls.append(pipe)
                wait_for(lambda version=version: _status(client, version).status.error_code)
                status = _status(client, version)
                assert status.state == State.LOADING
                assert status.status.error_code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
                assert f"still reads {pipe}" in status.status.error_message
            # What is sound takes over.
            _add(saved, base / "9")
            tiny_servable.wait_until_available(server, NAME, 9)
        assert max(waits) < _WORST_SECONDS
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < _WORST_SECONDS


def test_a_start_waits_for_files_that_do_not_answer_no_longer_than_it_must(
    base: pathlib.Path, saved: pathlib.Path, stalls: list[pathlib.Path], tmp_path: pathlib.Path
) -> None:
    shutil.copytree(base, tmp_path / "other")
    pipe = _add(saved, base / "2", _FILES[1])
    assert pipe is not None
    stalls.append(pipe)
    models = {**models_from_folder(base), **models_from_folder(tmp_path / "other")}
    config = ServerConfig(models=models, file_system_poll_wait_seconds=_POLL, load_timeout_seconds=0.5)
    with Server(config) as server, tiny_servable.client(server.grpc_port) as client:
        tiny_servable.wait_until_available(server, "other")
        assert _offset(client, model="other") == 1
        health = health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_swap_fails_no_request_of_either_protocol(base: pathlib.Path, saved: pathlib.Path) -> None:
    with _served(base) as server, _callers(server):
        for version in range(2, 7):
            _add(saved, base / str(version))
            tiny_servable.wait_until_available(server, NAME, version)


def test_a_sound_version_is_loaded_while_the_queue_is_full(base: pathlib.Path, saved: pathlib.Path) -> None:
    """Its warm-up requests once went through the same queue, and were refused."""
    with (
        _served(base, grpc_max_threads=1, max_waiting_requests=1) as server,
        tiny_servable.client(server.grpc_port) as client,
    ):
        end = threading.Event()
        server._scheduler._pool.submit(end.wait, 60)  # type: ignore[attr-defined]
        try:
            # The only thread is occupied, one may wait, and the place of the thread is there for another.
            calls = [client.prediction.Predict.future(request(rows(0)), timeout=60) for _ in range(2)]
            wait_for(lambda: not server._scheduler._places._value)  # type: ignore[attr-defined]
            assert _is_refused(client)
            _add(saved, base / "2")
            tiny_servable.wait_until_available(server, NAME, 2)
            assert _is_refused(client)
        finally:
            end.set()
        assert all(call.code() == grpc.StatusCode.OK for call in calls)


def _is_refused(client: Client) -> bool:
    return _code(lambda: client.predict(request(rows(0)))) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_version_that_met_too_many_open_files_is_tried_again(
    base: pathlib.Path, saved: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _served(base) as server, tiny_servable.client(server.grpc_port) as client:

        def refuse(*arguments: object) -> None:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr(version_loader, "open", refuse, raising=False)
            _add(saved, base / "2")
            wait_for(lambda: "Too many open files" in _status(client, 2).status.error_message)
            assert _offset(client) == 1
        tiny_servable.wait_until_available(server, NAME, 2)


@pytest.mark.parametrize("kind", ["folder of versions", "version"])
def test_a_link_that_is_switched_is_followed(base: pathlib.Path, tmp_path: pathlib.Path, kind: str) -> None:
    """As git-sync and ConfigMaps do; the number stays the same here."""
    (tmp_path / "b").mkdir()
    tiny_servable.save(tmp_path / "b" / NAME, 1, offset=5.0)
    link = tmp_path / "link"
    inside = "1" if kind == "version" else ""
    link.symlink_to(base / inside)
    with (
        Server(ServerConfig(models=models_from_folder(link, NAME), file_system_poll_wait_seconds=_POLL)) as server,
        tiny_servable.client(server.grpc_port) as client,
    ):
        assert _offset(client) == 1
        with _callers(server):
            fresh = tmp_path / "fresh"
            fresh.symlink_to(tmp_path / "b" / NAME / inside)
            fresh.rename(link)
            wait_for(lambda: _offset(client) == 5)
        assert client.states() == {1: State.AVAILABLE}


def _config(base: pathlib.Path, more: str = "", name: str = NAME) -> str:
    return f'config {{ name: "{name}" base_path: "{base}" {more} }}'


def _in_list(*configs: str) -> str:
    return f"model_config_list {{ {' '.join(configs)} }}"


def test_a_configuration_that_changes_while_the_server_starts_is_read(
    base: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "models.config"
    # As an editor of Windows writes it.
    written.write_bytes(codecs.BOM_UTF8 + _in_list(_config(base)).encode())
    load = version_loader.load_version

    def load_and_change(*arguments: object, **options: object) -> object:
        written.write_text(_in_list(_config(base), _config(base, name="other")))
        return load(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(version_loader, "load_version", load_and_change)
    config = ServerConfig(model_config_file=written, model_config_file_poll_wait_seconds=_POLL)
    with Server(config) as server, tiny_servable.client(server.grpc_port) as client:
        tiny_servable.wait_until_available(server, "other")
        assert _offset(client, model="other") == _offset(client) == 1


def test_a_label_waits_for_its_version_and_holds_up_no_other(
    base: pathlib.Path, saved: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    written = tmp_path / "models.config"

    def write(**labels: int) -> None:
        more = [f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items()]
        fresh = tmp_path / "fresh"
        fresh.write_text(_in_list(_config(base, f"model_version_policy {{ all {{}} }} {' '.join(more)}")))
        fresh.rename(written)

    _add(saved, base / "2")
    write(stable=1, late=3)
    config = ServerConfig(
        model_config_file=written, model_config_file_poll_wait_seconds=_POLL, file_system_poll_wait_seconds=_POLL
    )
    with Server(config) as server, tiny_servable.client(server.grpc_port) as client:

        def version(label: str) -> int:
            return client.prediction.Predict(request(rows(0), label=label), timeout=20).model_spec.version.value

        assert version("stable") == 1
        with pytest.raises(grpc.RpcError, match=r"no version label 'late', only \['stable'\]"):
            version("late")
        # A label whose version comes late leads to the last one until then.
        write(stable=4, late=3, canary=2)
        wait_for(lambda: _code(lambda: version("canary")) is None)
        assert version("canary") == 2 and version("stable") == 1
        assert _ask_rest(server, "stable") == 1
        _add(saved, base / "3")
        wait_for(lambda: _code(lambda: version("late")) is None)
        assert version("late") == 3 and version("stable") == 1
        _add(saved, base / "4")
        wait_for(lambda: version("stable") == 4)


def _code(call: Callable[[], object]) -> grpc.StatusCode | None:
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return None


def _reload(client: Client, *configs: str) -> tuple[grpc.StatusCode | None, str]:
    asked = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(_in_list(*configs), asked.config)
    try:
        client.models.HandleReloadConfigRequest(asked, timeout=60)
    except grpc.RpcError as error:
        return error.code(), error.details()
    return None, ""


def test_callers_may_not_change_the_models_unless_the_server_lets_them(base: pathlib.Path) -> None:
    with _served(base) as server, tiny_servable.client(server.grpc_port) as client:
        code, message = _reload(client, _config(base, name="mine"))
        assert code == grpc.StatusCode.PERMISSION_DENIED and "--allow_reload_config" in message
        assert _offset(client) == 1


def test_a_reload_names_folders_below_the_roots_alone_and_loses_no_model(
    base: pathlib.Path, saved: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    allowed, outside = tmp_path / "allowed", tmp_path / "outside"
    shutil.copytree(saved, outside / "1")
    shutil.copytree(saved, allowed / "inner" / "1")
    (allowed / "link").symlink_to(outside)
    (allowed / "empty").mkdir()
    (allowed / "broken" / "1").mkdir(parents=True)
    (allowed / "broken" / "1" / "saved_model.pb").write_bytes(b"no graph")
    refused = {
        outside: (grpc.StatusCode.PERMISSION_DENIED, "not below"),
        allowed / "link": (grpc.StatusCode.PERMISSION_DENIED, "not below"),
        allowed / ".." / "outside": (grpc.StatusCode.PERMISSION_DENIED, "not below"),
        tmp_path: (grpc.StatusCode.PERMISSION_DENIED, "not below"),
        allowed / "nowhere": (grpc.StatusCode.NOT_FOUND, "There is no folder"),
        allowed / "empty": (grpc.StatusCode.FAILED_PRECONDITION, "is available: there is none"),
        allowed / "broken": (grpc.StatusCode.FAILED_PRECONDITION, "version 1: .* is no SavedModel"),
    }
    with (
        _served(base, allow_reload_config=True, model_roots=(allowed,)) as server,
        tiny_servable.client(server.grpc_port) as client,
        _callers(server),
    ):
        for folder, (code, message) in refused.items():
            for configs in ([_config(folder)], [_config(base), _config(folder, name="other")]):
                answer = _reload(client, *configs)
                assert answer[0] == code, (folder, answer)
                assert re.search(message, answer[1]), answer
                assert _offset(client) == 1
                assert _code(lambda: _offset(client, model="other")) == grpc.StatusCode.NOT_FOUND
        assert _reload(client, _config(allowed / "inner"), _config(base, name="other")) == (None, "")
        assert _offset(client, model="other") == 1


def test_a_model_of_the_configured_file_is_kept_until_its_new_folder_has_a_version(
    base: pathlib.Path, saved: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    written = tmp_path / "models.config"
    written.write_text(_in_list(_config(base)))
    config = ServerConfig(
        model_config_file=written, model_config_file_poll_wait_seconds=_POLL, file_system_poll_wait_seconds=_POLL
    )
    with Server(config) as server, tiny_servable.client(server.grpc_port) as client, _callers(server):
        later = tmp_path / "later"
        written.write_text(_in_list(_config(later)))
        time.sleep(6 * _POLL)
        assert _offset(client) == 1
        tiny_servable.save(later, 7, offset=7.0)
        wait_for(lambda: _offset(client) == 7)


def test_a_model_that_does_more_than_compute_is_refused(base: pathlib.Path, tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("token")
    module = tf.Module()
    module.read = tf.function(
        lambda x: {"content": tf.fill(tf.shape(x), tf.io.read_file(str(secret)))},
        input_signature=[tf.TensorSpec([None], tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(tmp_path / "unsafe"), signatures={"serving_default": module.read})
    (tmp_path / "unsafe").rename(base / "2")
    with (
        _served(base, allow_unsafe_ops=False) as server,
        tiny_servable.client(server.grpc_port) as client,
    ):
        status = _status(client, 2)
        assert status.state == State.END
        assert status.status.error_code == grpc.StatusCode.PERMISSION_DENIED.value[0]
        assert "compute: ReadFile." in status.status.error_message
    with _served(base, allow_unsafe_ops=True) as server, tiny_servable.client(server.grpc_port) as client:
        assert client.predict(request({"x": np.zeros(1, np.float32)}))["content"].tolist() == [b"token"]


def test_a_file_without_an_end_is_not_taken_into_memory(base: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "1" / "assets" / "endless").symlink_to("/dev/zero")
    monkeypatch.setattr(memory_budget, "default_capacity", lambda: 2**25)
    with pytest.raises(StatusError, match="take more than half of the memory") as refused:
        version_loader.load_version(NAME, 1, base / "1", lambda _: None, allow_unsafe_ops=False, max_rows=9)
    assert refused.value.code == grpc.StatusCode.FAILED_PRECONDITION


def test_a_folder_whose_versions_have_no_numbers_is_refused(saved: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shutil.copytree(saved, tmp_path / "v1")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=rf"{tmp_path} has no folder named by .* it has only notes\.txt, v1\."):
        models_from_folder(tmp_path)
