"""Callers who hang up before they are answered: what they asked for is not computed."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest

from serving.server import Server, ServerConfig, models_from_folder
from serving.server import server as server_module
from tests.hostile import raw_http2
from tests.serving import tiny_servable
from tests.waiting import wait_for

_SECOND = 200_000
"""Turns of `spin` that take about a second."""
_HOURS = 2**40
_CANCELLED = ':tensorflow:serving:request_count{API="predict",model_name="tiny",status="CANCELLED"}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("models") / tiny_servable.NAME
    tiny_servable.save(base, 1, offset=0.0)
    with Server(ServerConfig(models=models_from_folder(base), grpc_max_threads=1, grace_seconds=0.1)) as running:
        yield running


def _ask(server: Server, turns: int) -> socket.socket:
    """Sends a request that counts so far, and reads nothing."""
    body = json.dumps({"signature_name": "spin", "inputs": {"turns": [turns], "number": [7]}}).encode()
    connection = socket.create_connection(("127.0.0.1", server.rest_port), timeout=60)
    head = f"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def _metric(server: Server, name: str) -> float:
    address = f"http://127.0.0.1:{server.rest_port}/monitoring/prometheus/metrics"
    with urllib.request.urlopen(address, timeout=20) as page:
        values = [line.rpartition(" ")[2] for line in page.read().decode().splitlines() if line.startswith(name)]
    return sum(map(float, values))


@contextlib.contextmanager
def _busy(server: Server) -> Iterator[None]:
    """Occupies the one thread that computes."""
    end = threading.Event()
    server._scheduler._pool.submit(end.wait, 60)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        end.set()


def _reset(connection: socket.socket) -> None:
    """Closes as a program that is killed with an answer unread does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("hang_up", [socket.socket.close, _reset], ids=["closes", "resets"])
def test_what_a_rest_caller_no_longer_waits_for_is_not_computed(
    server: Server, hang_up: Callable[[socket.socket], None]
) -> None:
    before = _metric(server, _CANCELLED)
    with _busy(server):
        connection = _ask(server, _HOURS)
        wait_for(lambda: _metric(server, "draw_serving_waiting_requests") == 1)
        hang_up(connection)
        wait_for(lambda: _metric(server, _CANCELLED) == before + 1)
    with _ask(server, 1) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    wait_for(lambda: not server._budget.reserved)


def test_what_a_grpc_caller_no_longer_waits_for_is_not_computed(server: Server) -> None:
    before = _metric(server, _CANCELLED)
    with _busy(server), tiny_servable.client(server.grpc_port) as client:
        inputs = {"turns": np.array([_HOURS]), "number": np.array([7])}
        call = client.prediction.Predict.future(tiny_servable.request(inputs, signature="spin"), timeout=60)
        wait_for(lambda: _metric(server, "draw_serving_waiting_requests") == 1)
        call.cancel()
        with pytest.raises(grpc.FutureCancelledError):
            call.result()
        wait_for(lambda: _metric(server, _CANCELLED) == before + 1)
    with _ask(server, 1) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_caller_that_says_that_it_asks_nothing_more_is_answered(server: Server) -> None:
    """As netcat does at the end of its input. Until it is answered it gets a line that every client passes over."""
    with _ask(server, 3 * _SECOND) as connection:
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(1000):
            received += piece
    received = received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 ") and b'"number":[7]' in received, received


def test_an_answer_over_grpc_that_is_never_read_gives_its_memory_back(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC has no deadline for it, and a client that it did not write may answer its pings and let no byte come."""
    monkeypatch.setattr(server_module, "_CONNECTION_SECONDS", 1)
    base = tmp_path / tiny_servable.NAME
    tiny_servable.save(base, 1, offset=0.0)
    rows = np.ones((100, 3), np.float32)
    with Server(ServerConfig(models=models_from_folder(base))) as server:
        with socket.create_connection(("127.0.0.1", server.grpc_port), timeout=20) as caller:
            message = tiny_servable.request({"x": rows}, signature="widen").SerializeToString()
            caller.sendall(raw_http2.first_call("/tensorflow.serving.PredictionService/Predict", message))
            # Six megabytes, of which HTTP/2 sends 64 KiB unasked.
            wait_for(lambda: server._budget.reserved > rows.shape[0] * 15_000 * 4)
            wait_for(lambda: not server._budget.reserved)
        # Whoever asks call by call does not notice that its connections end.
        with tiny_servable.client(server.grpc_port) as client:
            until = time.monotonic() + 3
            while time.monotonic() < until:
                assert client.predict(tiny_servable.request(tiny_servable.rows(1)))["y"].shape == (1, 3)
