"""gRPC as no honest client speaks it: streams that nobody reads, calls without a message, messages that unpack."""

from __future__ import annotations

import pathlib
import socket
import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.client import wire
from serving.server import Server, ServerConfig, grpc_messages, models_from_folder
from serving.server.served_models import ModelConfig
from tests.hostile import raw_http2
from tests.hostile.silent_caller import nothing_until
from tests.serving import tiny_servable
from tests.serving.tiny_servable import NAME, request, rows
from tests.waiting import wait_for

_SERVING, _NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
_WATCH = "/grpc.health.v1.Health/Watch"
_REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_MEGABYTE = 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("models") / NAME
    tiny_servable.save(base, 1, offset=0.0)
    with Server(ServerConfig(models=models_from_folder(base), max_message_bytes=_MEGABYTE)) as running:
        yield running


def _watch(channel: grpc.Channel) -> grpc.Call:
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)


def test_a_watcher_of_health_holds_up_no_change_no_other_watcher_and_no_stop(tmp_path: pathlib.Path) -> None:
    """One that lets no byte come once kept the lock that each change needs, and that the stop of the server needs."""
    (tmp_path / NAME).mkdir()
    models = {NAME: ModelConfig(base_path=tmp_path / NAME)}
    server = Server(ServerConfig(models=models, file_system_poll_wait_seconds=0.05, grace_seconds=1))
    server.start()
    stopping = threading.Thread(target=server.stop, daemon=True)
    with (
        socket.create_connection(("127.0.0.1", server.grpc_port), timeout=20) as hostile,
        tiny_servable.client(server.grpc_port) as client,
    ):
        hostile.sendall(raw_http2.first_call(_WATCH, b"", window=0))
        assert raw_http2.HEADERS in raw_http2.frames(hostile)
        leaves, stays = _watch(client.channel), _watch(client.channel)
        assert next(leaves).status == next(stays).status == _NOT_SERVING
        # When one watcher left, the others once heard of no change any more.
        leaves.cancel()
        tiny_servable.save(tmp_path / NAME, 1, offset=0.0)
        assert next(stays).status == _SERVING
        check = health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert check.status == _SERVING
        stopping.start()
        # A watch ends with the server, and so is nothing that the stop waits for.
        assert [status.status for status in stays] == [_NOT_SERVING]
        stopping.join(20)
        assert not stopping.is_alive()


def test_a_service_that_is_not_there_is_unknown_to_health(server: Server) -> None:
    with tiny_servable.client(server.grpc_port) as client:
        stub = health_pb2_grpc.HealthStub(client.channel)
        asked = health_pb2.HealthCheckRequest(service="other")
        with pytest.raises(grpc.RpcError) as refused:
            stub.Check(asked, timeout=20)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        assert next(stub.Watch(asked, timeout=20)).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def test_of_calls_that_have_no_end_the_oldest_makes_room(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server._messages, "most_streams", 4)
    with tiny_servable.client(server.grpc_port) as client:
        calls = []
        for _ in range(6):
            calls.append(_watch(client.channel))
            assert next(calls[-1]).status == _SERVING
        for call in calls[:2]:
            with pytest.raises(grpc.RpcError) as refused:
                next(call)
            assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not any(call.done() for call in calls[2:])


@pytest.mark.parametrize("method", [_WATCH, _REFLECT])
def test_a_stream_without_a_message_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """gRPC takes memory for a message before anybody may ask how large it is; so these calls count as all others."""
    monkeypatch.setattr(server._messages, "_most_arriving", 2)
    done = threading.Event()
    with tiny_servable.client(server.grpc_port) as client:
        send = client.channel.stream_stream(method)
        calls = []
        for number in range(3):
            calls.append(send(nothing_until(done), timeout=20))
            wait_for(lambda number=number: len(server._messages._arriving) == min(number + 1, 2) or calls[0].done())
        assert calls[0].code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "came slowly" in calls[0].details()
        done.set()
        # A call that is ended without a message.
        ended = calls[2].code()
    assert ended == (grpc.StatusCode.OK if method == _REFLECT else grpc.StatusCode.INVALID_ARGUMENT)


def test_each_message_has_its_own_time_to_come(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_messages, "_MESSAGE_SECONDS", 0.5)
    done = threading.Event()
    with tiny_servable.client(server.grpc_port) as client:
        send = client.channel.stream_unary(wire.PREDICT)
        lasted = []
        for _ in range(2):
            began = time.monotonic()
            call = send.future(nothing_until(done), timeout=20)
            # Others come and go meanwhile.
            assert client.predict(request(rows(0.25)))["y"][0, 0] == 0.5
            assert call.code() == grpc.StatusCode.DEADLINE_EXCEEDED and "No message came within 0.5 s" in call.details()
            lasted.append(time.monotonic() - began)
        done.set()
    assert min(lasted) >= 0.5 and max(lasted) < 10


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
def test_a_compressed_message_is_taken(server: Server, compression: grpc.Compression) -> None:
    made = request(rows(*range(900)))
    with tiny_servable.client(server.grpc_port) as client:
        response = client.prediction.Predict(made, timeout=20, compression=compression)
        assert response.outputs["total"].tensor_shape.dim[0].size == 900
        watch = health_pb2_grpc.HealthStub(client.channel).Watch(
            health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService" + "x" * 4000),
            timeout=20,
            compression=compression,
        )
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def test_a_compressed_message_unpacks_to_no_more_than_a_message_may_have(server: Server) -> None:
    """gRPC unpacks it before it looks at the limit: 16 MB become 16 GB."""
    made = request({"x": np.zeros((2 * _MEGABYTE, 3), np.float32)})
    with tiny_servable.client(server.grpc_port) as client:
        with pytest.raises(grpc.RpcError) as refused:
            client.prediction.Predict(made, timeout=20, compression=grpc.Compression.Gzip)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert f"unpacks to more than {_MEGABYTE} bytes" in refused.value.details()
        # One of another kind is unpacked by nobody.
        with pytest.raises(grpc.RpcError) as refused:
            client.prediction.Predict(made, timeout=20, compression=grpc.Compression.Deflate)
        assert refused.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL)


@pytest.mark.parametrize("raw", [b"\x1f\x8b", b"\x1f\x8bno gzip" * 9], ids=["its end is missing", "no gzip"])
def test_bytes_that_begin_as_gzip_and_are_none_are_an_invalid_argument(server: Server, raw: bytes) -> None:
    with tiny_servable.client(server.grpc_port) as client, pytest.raises(grpc.RpcError) as refused:
        client.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(raw, timeout=20)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "gzip" in refused.value.details()
