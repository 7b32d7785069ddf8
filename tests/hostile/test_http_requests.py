"""HTTP that no honest caller sends, and what every caller may expect of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import http.client
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from serving.server import Server, ServerConfig, http_listener, models_from_folder
from serving.server.status_error import StatusError
from tests.hostile.silent_caller import nothing_until
from tests.serving import tiny_servable
from tests.waiting import wait_for

# A busy machine draws slowly.
_UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
_PREDICT = "/v1/models/tiny:predict"
_BODY = b'{"inputs": [[1, 2, 3]]}'
_HEAD = f"POST {_PREDICT} HTTP/1.1\r\nHost: localhost\r\n".encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("models") / "tiny"
    tiny_servable.save(base, 1, offset=0.0)
    with Server(ServerConfig(models=models_from_folder(base), max_request_bytes=2**20, max_memory_mb=64)) as running:
        yield running


def _connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.rest_port), timeout=20)


def _exchange(server: Server, sent: bytes, *, finished: bool = True) -> bytes:
    """Sends bytes, says that no more come, and reads to the end."""
    with _connect(server) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        if finished:
            with contextlib.suppress(OSError):  # It may be closed already.
                connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
    return received


def _ask(
    server: Server, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def _post(server: Server, body: Any, **headers: str) -> tuple[int, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    status, _, answer = _ask(server, "POST", _PREDICT, body, named)
    return status, answer


def _length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n" % len(body)


_NO_REQUESTS = {
    "two lengths": _HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + _BODY,
    "the same length twice": _HEAD + 2 * _length(_BODY) + b"\r\n" + _BODY,
    "a list of lengths": _HEAD + b"Content-Length: 23, 23\r\n\r\n" + _BODY,
    "a length beside chunks": _HEAD + _length(_BODY) + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks beside a length": _HEAD + b"Transfer-Encoding: chunked\r\n" + _length(_BODY) + b"\r\n0\r\n\r\n",
    "chunks that are not last": _HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a negative length": _HEAD + b"Content-Length: -1\r\n\r\n",
    "a length of 5,000 digits": _HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a chunk of no size": _HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "an address that is none": b"POST http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a GET of such": b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes in the path": b"GET /v1/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n" + b"GET",
    "no host": b"GET /v1/models/tiny HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v1/models/tiny HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("kind", _NO_REQUESTS)
def test_what_two_servers_could_understand_differently_is_refused(server: Server, kind: str) -> None:
    received = _exchange(server, _NO_REQUESTS[kind])
    assert received.startswith(b"HTTP/1.1 400 ") or (kind == "a folded header" and received), received
    assert b"predictions" not in received and b"outputs" not in received


def test_a_body_is_never_taken_for_the_next_request(server: Server) -> None:
    hidden = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for method in (b"GET /v1/models/tiny", b"HEAD /v1/models/tiny", b"OPTIONS /", b"DELETE /v1", b"POST /v2"):
        sent = method + b" HTTP/1.1\r\nHost: localhost\r\n" + _length(hidden) + b"\r\n" + hidden
        received = _exchange(server, sent)
        assert received.count(b"HTTP/1.1 ") == 1 and b"smuggled" not in received, received


def test_requests_one_behind_the_other_are_answered_in_order(server: Server) -> None:
    one = b"GET /v1/models/absent%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
    received = _exchange(server, b"".join(one % number for number in range(300)))
    assert received.count(b"HTTP/1.1 404") == 300
    places = [received.index(b"'absent%d'" % number) for number in range(300)]
    assert places == sorted(places)


@settings(max_examples=100, deadline=None, suppress_health_check=_UNCHECKED)
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "TRACE", "Ŀ", ""]),
    path=st.one_of(
        st.just(_PREDICT), st.text(max_size=30), st.sampled_from(["*", "/%", "/%ff%00", "//", "/v1/models/:"])
    ),
    headers=st.lists(
        st.tuples(
            st.sampled_from(
                ["Content-Length", "Transfer-Encoding", "Host", "Content-Encoding", "Connection", "Expect"]
            ),
            st.one_of(
                st.sampled_from(["5", "chunked", "gzip", "upgrade", "close", "100-continue"]), st.text(max_size=9)
            ),
        ),
        max_size=4,
    ),
    body=st.one_of(st.just(_BODY), st.binary(max_size=60)),
)
@example(method="GET", path="/v1/models/tiny/versions/" + "9" * 5000, headers=[], body=b"")
@example(method="POST", path=_PREDICT, headers=[("Upgrade", "websocket"), ("Connection", "upgrade")], body=b"")
def test_whatever_arrives_gets_an_answer_that_is_http_and_no_fault_of_ours(
    server: Server, method: str, path: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers)]
    received = _exchange(server, "\r\n".join([*lines, "", ""]).encode() + body)
    if received:
        version, status, *_ = received.split(b"\r\n", 1)[0].split(b" ")
        assert version == b"HTTP/1.1" and 100 <= int(status) < 500, received
    status, answer = _post(server, _BODY)
    assert status == 200, answer


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just({"b64": "AA=="}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=_UNCHECKED)
@given(
    key=st.sampled_from(["inputs", "instances", "examples"]),
    value=_JSON,
    signature=st.sampled_from(["", "double", "shout", "whole", "classify", "é"]),
)
def test_whatever_json_arrives_gets_an_answer_or_a_reason(server: Server, key: str, value: Any, signature: str) -> None:
    verb = "classify" if key == "examples" else "predict"
    body = json.dumps({key: value, "signature_name": signature})
    status, _, answer = _ask(server, "POST", f"/v1/models/tiny:{verb}", body.encode())
    assert status in (200, 400, 413), (status, answer)
    assert status == 200 or json.loads(answer)["error"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": ["\\ud800"], "signature_name": "shout"}',
        b'{"inputs": {"\\ud800": [[1, 2, 3]]}}',
        b'{"inputs": [[1, 2, 3]], "signature_name": "\\udfff"}',
        b'{"inputs": [NaN, "\\ud800"]}',
        b'{"inputs": ["NaN\\ud800"], "signature_name": "\\ud800"}',
        b'{"inputs": ' + b"[" * 33 + b"1" + b"]" * 33 + b"}",
        b'{"inputs": ' + b"[" * 900 + b"1" + b"]" * 900 + b"}",
        b'{"inputs": ' + b"[" * 100_000,
        b'{"inputs": [NaN, ' + b"[" * 100_000,
        b'{"inputs": 1e999}',
        b'{"inputs": %s, "signature_name": "whole"}' % (b"9" * 5000),
        b"",
        b"\xff",
    ],
)
def test_json_that_python_chokes_on_is_the_callers_fault(server: Server, body: bytes) -> None:
    status, answer = _post(server, body)
    assert status == 400 and len(json.loads(answer)["error"]) < 1100, answer


def test_a_name_of_ten_megabytes_is_not_found(server: Server) -> None:
    made = tiny_servable.request(tiny_servable.rows(1), model="a" * 10_000_000)
    with tiny_servable.client(server.grpc_port) as client, pytest.raises(grpc.RpcError) as refused:
        client.prediction.Predict(made, timeout=20)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND and len(refused.value.details()) <= 1024
    status, answer = _post(server, json.dumps({"inputs": [[1, 2, 3]], "signature_name": "a" * 900_000}).encode())
    assert status == 400 and len(answer) < 1200


@pytest.mark.parametrize(
    "method",
    [
        "tensorflow.serving.PredictionService/Predict",
        "tensorflow.serving.PredictionService/Classify",
        "tensorflow.serving.PredictionService/GetModelMetadata",
        "tensorflow.serving.ModelService/GetModelStatus",
        "tensorflow.serving.ModelService/HandleReloadConfigRequest",
        "grpc.health.v1.Health/Check",
    ],
)
@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\xff" * 100_000, b"\x0b" * 100_000])
def test_bytes_that_are_no_message_are_an_invalid_argument(server: Server, method: str, raw: bytes) -> None:
    with tiny_servable.client(server.grpc_port) as client, pytest.raises(grpc.RpcError) as refused:
        client.channel.unary_unary(f"/{method}")(raw, timeout=20)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert f"{len(raw)} bytes are no " in refused.value.details()


@pytest.mark.parametrize("raw", [b"\xff", b"\x0b" * 60_000, b"\x0a\x01a" * 40_000])
def test_bytes_that_are_no_message_are_refused_by_the_methods_that_stream_too(server: Server, raw: bytes) -> None:
    expected = grpc.StatusCode.RESOURCE_EXHAUSTED if len(raw) > 65536 else grpc.StatusCode.INVALID_ARGUMENT
    with tiny_servable.client(server.grpc_port) as client:
        watch = client.channel.unary_stream("/grpc.health.v1.Health/Watch")
        reflect = client.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        for answers in (watch(raw, timeout=20), reflect(iter([raw]), timeout=20)):
            with pytest.raises(grpc.RpcError) as refused:
                next(answers)
            assert refused.value.code() == expected, refused.value


@pytest.mark.parametrize("field", [b"\x1a\x00", b"\x12\x00", b"\x78\x00", b"\x0a\x02\x0a\x00"])
def test_a_message_of_many_fields_is_refused_before_it_is_parsed(server: Server, field: bytes) -> None:
    with tiny_servable.client(server.grpc_port) as client, pytest.raises(grpc.RpcError) as refused:
        client.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")(field * 400_000, timeout=20)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "300000 fields" in refused.value.details()


def test_of_messages_that_do_not_come_the_oldest_makes_room(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may take as much memory as a message may have, before anybody can ask how much it is."""
    monkeypatch.setattr(server._messages, "_most_arriving", 4)
    done = threading.Event()
    with tiny_servable.client(server.grpc_port) as client:
        send = client.channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
        calls = []
        try:
            for number in range(7):
                calls.append(send.future(nothing_until(done), timeout=20))
                wait_for(
                    lambda number=number: (
                        len(server._messages._arriving) == min(number + 1, 4)
                        and sum(call.done() for call in calls) == max(0, number - 3)
                    )
                )
            refused = [call.code() for call in calls if call.done()]
            assert refused == 3 * [grpc.StatusCode.RESOURCE_EXHAUSTED] and not any(call.done() for call in calls[3:])
            assert client.predict(tiny_servable.request(tiny_servable.rows(1)))["y"].shape == (1, 3)
        finally:
            done.set()


def test_chunked_and_compressed_bodies_are_taken(server: Server) -> None:
    status, answer = _post(server, iter([_BODY[:5], _BODY[5:]]))
    assert status == 200, answer
    status, answer = _post(server, gzip.compress(_BODY), Content_Encoding="gzip")
    assert status == 200, answer
    status, answer = _post(server, gzip.compress(_BODY)[:-9], Content_Encoding="gzip")
    assert status == 400 and b"ends too early" in answer
    status, answer = _post(server, _BODY, Content_Encoding="gzip")
    assert status == 400 and b"no gzip" in answer
    status, answer = _post(server, _BODY, Content_Encoding="br")
    assert status == 415, answer


@pytest.mark.parametrize("size", [2**20 + 1, 100 * 2**20])
def test_a_body_is_bounded_as_it_is_sent_and_as_it_is_inflated(server: Server, size: int) -> None:
    """The answer reaches the caller, though it has not read it while it sent."""
    bomb = gzip.compress(bytes(size), 9)
    status, answer = _post(server, bomb, Content_Encoding="gzip")
    assert status == 413 and b"takes at most 1048576" in answer
    for sent in (bytes(min(size, 5 * 2**20)), iter([bytes(2**16)] * 40)):
        status, answer = _post(server, sent)
        assert status == 413 and b"takes at most 1048576" in answer


def test_a_caller_that_asks_first_is_refused_before_it_sends(server: Server) -> None:
    with _connect(server) as connection:
        connection.sendall(_HEAD + b"Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_come_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server._rest, "_timeout", 1.0)
    with _connect(server) as connection:
        began = time.monotonic()
        connection.sendall(_HEAD + b"Content-Length: 100\r\n\r\n{")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 10


_UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
_CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n17\r\n" + _BODY + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize("rest", [_length(_BODY) + b"\r\n" + _BODY, _CHUNKS], ids=["length", "chunks"])
@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_a_request_that_asks_for_http_2_is_answered_with_its_body(server: Server, rest: bytes, pieces: int) -> None:
    """As Java's own client asks at first, and would go on in HTTP/1.1 where nobody offers the other."""
    sent = 2 * (_HEAD + _UPGRADE + rest)
    with _connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = -(-len(sent) // pieces)
        for start in range(0, len(sent), size):
            connection.sendall(sent[start : start + size])
        received = b""
        while received.count(b'"total":[6.0]') < 2:
            piece = connection.recv(65536)
            assert piece, received
            received += piece
    assert received.count(b"HTTP/1.1 200 ") == 2


def test_a_body_of_such_a_request_is_not_taken_for_the_next(server: Server) -> None:
    hidden = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for upgrade in (_UPGRADE, b"Connection: upgrade\r\nUpgrade: websocket\r\n"):
        with _connect(server) as connection:
            connection.sendall(_HEAD + upgrade + _length(hidden) + b"\r\n")
            time.sleep(0.1)
            connection.sendall(hidden)
            connection.shutdown(socket.SHUT_WR)
            received = b"".join(iter(lambda connection=connection: connection.recv(65536), b""))
        assert received.startswith(b"HTTP/1.1 400 ") and b"no JSON" in received and b"smuggled" not in received


_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_EMPTY_BLOCKS = gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 2**19


@pytest.mark.parametrize(
    ("packed", "status", "reason"),
    [
        (gzip.compress(_BODY) + bytes(2**18), 400, b"goes on after its gzip"),
        (gzip.compress(_BODY) * 2, 400, b"goes on after its gzip"),
        (_EMPTY_BLOCKS, 413, b"takes at most 1048576"),
    ],
    ids=["bytes after it", "another after it", "empty blocks"],
)
def test_a_gzip_that_goes_on_or_holds_nothing_is_bounded(
    server: Server, packed: bytes, status: int, reason: bytes
) -> None:
    """What comes after its end was kept, outside of the budget, and copied again with each piece."""
    pieces = [packed[start : start + 2**16] for start in range(0, len(packed), 2**16)]
    assert _post(server, iter(pieces), Content_Encoding="gzip")[0] == status


_ENDLESS = {
    "the next request's head": (_HEAD + _length(_BODY) + b"\r\n" + _BODY, b"GET / HTTP/1.1\r\nX: ", b"a" * 2**16),
    "its headers": (_HEAD + _length(_BODY) + b"\r\n" + _BODY, b"GET / HTTP/1.1\r\n", b"X: a\r\n" * 2**13),
    "a header after the body": (_CHUNKED, b"0\r\nX: ", b"a" * 2**16),
    "headers after the body": (_CHUNKED, b"0\r\n", b"X: a\r\n" * 2**13),
}


@pytest.mark.parametrize("kind", _ENDLESS)
def test_nothing_without_an_end_is_kept_while_a_request_is_under_way(
    server: Server, held: threading.Event, kind: str
) -> None:
    """A head was bounded while nothing else was asked; beside a request it took memory that nobody counted."""
    request, begin, piece = _ENDLESS[kind]
    with _connect(server) as connection:

        def send() -> None:
            connection.sendall(request + begin)
            for _ in range(2**10):
                connection.sendall(piece)

        with pytest.raises(ConnectionError):
            send()
    held.set()
    wait_for(lambda: not server._budget.reserved)


def test_an_answer_that_is_read_for_ever_gives_its_memory_back(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece in time, each time, held the memory of the whole for a day."""
    monkeypatch.setattr(http_listener, "_READING_SECONDS", 1.0)
    body = json.dumps({"signature_name": "widen", "inputs": [[0.1, 0.2, 0.3]] * 200}).encode()
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        caller.settimeout(20)
        caller.connect(("127.0.0.1", server.rest_port))
        caller.sendall(_HEAD + _length(body) + b"\r\n" + body)
        # Twelve megabytes, of which the two sockets take some.
        wait_for(lambda: server._budget.reserved > 2**20)

        def is_given_back() -> bool:
            time.sleep(0.1)
            return len(caller.recv(2**14)) > 0 and not server._budget.reserved

        wait_for(is_given_back)


def test_head_and_options(server: Server) -> None:
    for path in ("/v1/models/tiny", "/v1/models/tiny/metadata", "/live/", "/monitoring/prometheus/metrics"):
        status, headers, body = _ask(server, "HEAD", path)
        assert status == 200 and int(headers["Content-Length"]) > 100 and body == b""
    status, headers, body = _ask(server, "OPTIONS", _PREDICT)
    assert (status, headers["Allow"], body) == (204, "POST, OPTIONS", b"")
    status, headers, body = _ask(server, "DELETE", "/v1/models/tiny")
    assert status == 405 and headers["Allow"] == "GET, HEAD, OPTIONS" and json.loads(body)["error"]
    status, headers, body = _ask(server, "GET", _PREDICT)
    assert status == 400 and "Malformed request: GET" in json.loads(body)["error"]


def test_answers_are_compressed_for_those_who_accept_it(server: Server) -> None:
    body = json.dumps({"inputs": [[1, 2, 3]] * 900, "signature_name": "double"}).encode()
    plain = _ask(server, "POST", _PREDICT, body)
    status, headers, answer = _ask(server, "POST", _PREDICT, body, {"Accept-Encoding": "gzip"})
    assert status == 200 and headers["Content-Encoding"] == "gzip" and len(answer) < len(plain[2]) / 5
    assert gzip.decompress(answer) == plain[2]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:8501", True),
        ("127.0.0.1:8501", True),
        ("[::1]:8501", True),
        ("10.1.2.3:8501", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("draw:8501", False),
        ("evil.example:80@localhost", False),
        ("[evil.example]", False),
        ("[", False),
        ("[::1", True),
        ("localhost:80[", True),
    ],
)
def test_a_host_that_is_not_this_server_is_refused(server: Server, host: str, allowed: bool) -> None:
    for path in ("/live/", "/v1/models/tiny", "/monitoring/prometheus/metrics"):
        status, _, body = _ask(server, "GET", path, headers={"Host": host})
        assert status == (200 if allowed else 421), body
    # What is no address in a URL is no fault of ours either.
    assert _ask(server, "GET", "/v1/models/absent", headers={"Host": host})[0] == (404 if allowed else 421)


def test_a_page_of_another_origin_may_not_call(server: Server) -> None:
    own = f"127.0.0.1:{server.rest_port}"
    assert _post(server, _BODY, Origin=f"http://{own}", Content_Type="application/json")[0] == 200
    assert _post(server, _BODY, Content_Type="application/json; charset=utf-8")[0] == 200
    # As curl and others send it.
    assert _post(server, _BODY, Content_Type="application/x-www-form-urlencoded")[0] == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"http://{own}.evil.example", "http://[", own):
        status, answer = _post(server, _BODY, Origin=origin, Content_Type="application/json")
        assert status == 403 and b"--rest_api_enable_cors_support" in answer
    for kind in ("text/plain", "multipart/form-data; boundary=x"):
        assert _post(server, _BODY, Content_Type=kind)[0] == 415
    assert "Access-Control-Allow-Origin" not in _ask(server, "POST", _PREDICT, _BODY)[1]


def test_cors_and_hosts_are_as_the_flags_say(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.mktemp("models") / "tiny"
    tiny_servable.save(base, 1, offset=0.0)
    config = ServerConfig(
        models=models_from_folder(base), rest_api_enable_cors_support=True, allowed_hosts=("draw.example", "*.svc")
    )
    with Server(config) as running:
        page = {"Host": "draw.example", "Origin": "http://page.example"}
        asked = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        status, headers, _ = _ask(running, "OPTIONS", _PREDICT, headers=asked)
        assert status == 200 and "POST" in headers["Access-Control-Allow-Methods"]
        status, headers, _ = _ask(running, "POST", _PREDICT, _BODY, {**page, "Content-Type": "text/plain"})
        assert status == 200 and headers["Access-Control-Allow-Origin"] == "*"
        for host, expected in (("a.svc:1", 200), ("localhost", 421), ("127.0.0.1", 421)):
            assert _ask(running, "GET", "/v1/models/tiny", headers={"Host": host})[0] == expected


def test_a_server_on_all_addresses_answers_to_the_names_of_its_cluster(tmp_path: Any) -> None:
    tiny_servable.save(tmp_path / "tiny", 1, offset=0.0)
    with Server(ServerConfig(models=models_from_folder(tmp_path / "tiny"), host="0.0.0.0")) as running:
        for host in ("draw", "draw.default.svc", "draw.default.svc.cluster.local:8501", "10.0.0.7:8501"):
            assert _ask(running, "GET", "/v1/models/tiny", headers={"Host": host})[0] == 200
        assert _ask(running, "GET", "/v1/models/tiny", headers={"Host": "evil.example"})[0] == 421


@pytest.mark.parametrize("protocol", ["gRPC", "REST"])
def test_a_refused_request_leaves_nothing_for_the_garbage_collector(server: Server, protocol: str) -> None:
    def refused(client: tiny_servable.Client, number: int) -> None:
        bad: dict[str, Any] = {"x": [[1, 2]], "z": ["a" * 900_000]} if number % 2 else {"x": [[float("nan"), 0, 0]]}
        if protocol == "REST":
            assert _post(server, json.dumps({"inputs": bad}).encode())[0] == 400
        else:
            arrays = {alias: np.array(value, np.float32 if alias == "x" else object) for alias, value in bad.items()}
            with pytest.raises(grpc.RpcError):
                client.prediction.Predict(tiny_servable.request(arrays), timeout=20)

    with tiny_servable.client(server.grpc_port) as client:
        refused(client, 0)
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            for number in range(20):
                refused(client, number)
            # The answer may be read before the last of it is let go.
            wait_for(lambda: tracemalloc.get_traced_memory()[0] < 4 * 2**20)
            wait_for(lambda: sum(isinstance(value, StatusError) for value in gc.get_objects()) <= 1)
        finally:
            tracemalloc.stop()
            gc.enable()


def test_an_answered_call_is_gone_without_the_garbage_collector(server: Server) -> None:
    """gRPC counts a call as open while its objects live, and refuses the next where there are too many."""

    def contexts() -> int:
        return sum(type(value).__name__ in ("_ServicerContext", "RPCState") for value in gc.get_objects())

    made = tiny_servable.request(tiny_servable.rows(1))
    with tiny_servable.client(server.grpc_port) as client:
        client.predict(made)
        gc.collect()
        gc.disable()
        try:
            before = contexts()
            for _ in range(50):
                client.predict(made)
            wait_for(lambda: contexts() - before < 5)
        finally:
            gc.enable()


def test_idle_connections_make_room_for_a_caller(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_protocol(server), "most", 8)
    with contextlib.ExitStack() as stack:
        for number in range(30):
            connection = stack.enter_context(_connect(server))
            if number % 2:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(1000).startswith(b"HTTP/1.1 302 ")
            assert _post(server, _BODY)[0] == 200


def _protocol(server: Server) -> Any:
    return server._http._server.config.http_protocol_class  # type: ignore[union-attr]


def test_connections_at_work_are_kept_and_the_caller_beyond_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch, held: threading.Event
) -> None:
    monkeypatch.setattr(_protocol(server), "most", 3)
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(_connect(server)) for _ in range(3)]
        for caller in callers:
            caller.sendall(_HEAD + _length(_BODY) + b"\r\n" + _BODY)
        connections = server._http._server.server_state.connections  # type: ignore[union-attr]
        wait_for(lambda: len(connections) == 3 and not _protocol(server).idle and not _protocol(server).sending)
        status, answer = _post(server, _BODY)
        assert status == 503 and b"try again later" in answer
        held.set()
        for caller in callers:
            assert caller.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_connections_whose_bodies_do_not_come_make_room_for_a_caller(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cost a few bytes a minute, and kept all others out."""
    monkeypatch.setattr(_protocol(server), "most", 8)
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(_connect(server)).sendall(_HEAD + b"Content-Length: 100\r\n\r\n{")
            assert _post(server, _BODY)[0] == 200
    wait_for(lambda: not _protocol(server).sending and not server._budget.reserved)


def test_an_answers_body_does_not_wait_for_its_head_to_be_acknowledged(server: Server) -> None:
    """As it would on the sockets of a listener that somebody else opened: 40 ms of each request."""
    with _connect(server):
        connections = server._http._server.server_state.connections  # type: ignore[union-attr]
        wait_for(lambda: connections)
        for connection in list(connections):
            accepted = connection.transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_head_is_bounded(server: Server) -> None:
    received = _exchange(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"a" * 2**20)
    assert received.startswith(b"HTTP/1.1 400 ") or received == b""


def test_memory_is_for_all_and_small_requests_get_theirs(server: Server) -> None:
    budget = server._budget
    body = json.dumps({"inputs": [[1.5, 2, 3]] * 1000 + [[0, 0, 0]] * 29_000, "signature_name": "double"}).encode()
    assert 600_000 > len(body) > 2**18

    async def take() -> None:
        budget.reserved += int(budget.capacity * 7 / 8)

    async def give_back() -> None:
        budget.reserved -= int(budget.capacity * 7 / 8)

    asyncio.run_coroutine_threadsafe(take(), server._loop).result()
    try:
        status, answer = _post(server, body)
        assert status == 429 and b"--max_memory_mb" in answer
        assert _post(server, _BODY)[0] == 200
    finally:
        asyncio.run_coroutine_threadsafe(give_back(), server._loop).result()
    assert _post(server, body)[0] == 400
    wait_for(lambda: not budget.reserved)  # The answer may be read before what it took is given back.
