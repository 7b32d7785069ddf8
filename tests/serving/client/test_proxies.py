"""Addresses, and which proxy of the environment a connection to one takes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from serving.client import Client, Retry, ServerUnavailable
from serving.client.address import parse
from serving.client.proxies import proxy_for
from tests.serving.scripted_server import Script, image_of, serve

PROXY = "http://user:sec@/ret@proxy.example:3128/"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [
        ("127.0.0.1:8500", "127.0.0.1", 8500),
        ("models.example:1", "models.example", 1),
        ("[::1]:8500", "::1", 8500),
        ("dns:///draw-serving:8500", "draw-serving", 8500),
        ("dns://10.0.0.1/draw-serving:8500", "draw-serving", 8500),
        ("dns:draw-serving", "draw-serving", None),
        ("ipv4:10.0.0.1:8500,10.0.0.2:8500", "10.0.0.1", 8500),
        ("ipv6:[::1]:8500", "::1", 8500),
        ("unix:/run/draw.sock", None, None),
        ("xds:///draw", None, None),
        ("dns:8500", "dns", 8500),
    ],
)
def test_an_address_is_read(server: str, host: str | None, port: int | None) -> None:
    assert parse(server) == (server, host, port)


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ("http://127.0.0.1:8501", r"is a URL, as REST has them; expected .* such as 127\.0\.0\.1:8500\."),
        ("http://127.0.0.1:8501/v1/models/digits", r"is a URL.*such as 127\.0\.0\.1:8500"),
        ("https://models.example", r"such as models\.example:8500 and --tls"),
        ("http://[::1]:8501", r"such as \[::1\]:8500"),
        ("http://user:word@models.example:1/", r"such as models\.example:8500"),
        ("grpc://models.example:9000", r"such as models\.example:9000\."),
        ("http://[broken", r"is a broken URL"),
        ("[::1]", r"has no port: expected .* \[::1\]:8500"),
        ("127.0.0.1", r"has no port: expected .* such as 127\.0\.0\.1:8500"),
        ("localhost", r"such as localhost:8500"),
        ("::1", r"has no port: expected .* \[::1\]:8500"),
        ("::1:8500", r"has no port|without brackets"),
        ("fe80::1:2:3:4:5:6:7:8500", r"without brackets: expected \[fe80::1:2:3:4:5:6:7\]:8500|is no address"),
        ("1:2:3:4:5:6:7:8:8500", r"without brackets: expected \[1:2:3:4:5:6:7:8\]:8500"),
        ("[models.example]:8500", r"no IPv6 address in its brackets"),
        ("models.example:", r"is no address"),
        ("models.example:http", r"is no address"),
        ("models.example:0", r"has the port 0; expected one from 1"),
        ("models.example:70000", r"has the port 70000"),
        (":8500", r"is no address"),
        ("a b:8500", r"is no address"),
        ("models.example:8500/v1", r"is no address"),
        ("", r"is no address"),
    ],
)
def test_what_is_no_address_is_told_with_what_was_probably_meant(server: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(server)
    with pytest.raises(ValueError, match=message):
        Client(server, model="m")


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
@pytest.mark.parametrize(
    "server",
    [
        *("127.0.0.1:1", "127.3.2.1:1", "localhost:1", "LOCALHOST.:1", "a.localhost:1", "[::1]:1"),
        *("[::ffff:127.0.0.1]:1", "dns:///localhost:1", "ipv4:127.0.0.1:1", "unix:/a", "0.0.0.0:1"),
    ],
)
def test_no_proxy_leads_to_this_host(server: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, PROXY)
    assert proxy_for(parse(server)) is None
    assert proxy_for(parse("models.example:1")) == (variable, "http://proxy.example:3128/")


@pytest.mark.parametrize("spelling", ["no_proxy", "NO_PROXY", "no_grpc_proxy"])
@pytest.mark.parametrize(
    ("exceptions", "server", "direct"),
    [
        ("models.example", "models.example:1", True),
        ("example", "models.example:1", True),
        (" .example , other", "Models.Example.:1", True),
        ("*.example", "models.example:1", True),
        ("ample", "models.example:1", False),
        ("models.example:8500", "models.example:8500", True),
        ("models.example:8500", "models.example:8501", False),
        ("*", "models.example:1", True),
        ("", "models.example:1", False),
        (",", "models.example:1", False),
        ("10.1.0.0/16", "10.1.2.3:1", True),
        ("10.1.0.0/16", "10.2.2.3:1", False),
        ("10.1.2.3", "10.1.2.3:1", True),
        ("fd00::/8", "[fd00::1]:1", True),
        ("[fd00::1]:1", "[fd00::1]:1", True),
        ("fd00::1", "[fd00::1]:1", True),
        ("0.1.2.3", "10.1.2.3:1", False),
    ],
)
def test_no_proxy_is_honoured_in_each_spelling(
    spelling: str, exceptions: str, server: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", PROXY)
    monkeypatch.setenv(spelling, exceptions)
    assert (proxy_for(parse(server)) is None) == direct


def test_both_spellings_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", PROXY)
    monkeypatch.setenv("no_proxy", "one.example")
    monkeypatch.setenv("NO_PROXY", "two.example")
    assert proxy_for(parse("one.example:1")) is None
    assert proxy_for(parse("two.example:1")) is None
    assert proxy_for(parse("three.example:1")) is not None


def test_what_grpc_takes_for_no_proxy_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", PROXY)
    for url in ("", "proxy.example:3128", "https://proxy.example:3128", "socks5://proxy.example:1080"):
        monkeypatch.setenv("https_proxy", url)
        assert proxy_for(parse("models.example:1")) is None


@contextlib.contextmanager
def _proxy(targets: Mapping[str, tuple[str, int]], asked: list[str]) -> Iterator[str]:
    """Runs an HTTP proxy that knows only CONNECT, and connects to what `targets` say; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one(connection: socket.socket) -> None:
            head = connection.recv(4096).decode()
            name = head.split()[1]
            asked.append(name)
            if name not in targets:
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                connection.close()
                return
            upstream = socket.create_connection(targets[name])
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            for source, sink in ((connection, upstream), (upstream, connection)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve_one, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


def test_the_proxy_is_taken_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    retry = Retry(attempts=2, first_seconds=0.01)
    with serve(Script()) as server:
        host, port = server.split(":")
        with _proxy({"models.invalid:8500": (host, int(port))}, asked) as url:
            monkeypatch.setenv("https_proxy", url)
            with Client(server, model="m") as client:  # of this host
                assert len(client.sample(1)) == 1
            assert asked == []
            with Client("models.invalid:8500", model="m") as client:  # a name that only the proxy knows
                np.testing.assert_array_equal(client.sample(1), image_of(np.zeros((1, 2), np.int64)))
            assert asked == ["models.invalid:8500"]
            with (
                Client("other.invalid:8500", model="m", retry=retry) as client,
                pytest.raises(ServerUnavailable) as raised,
            ):
                client.sample(1)
            message = str(raised.value)
            assert f"the proxy {url.replace('user:secret@', '')} of https_proxy" in message
            assert "NO_PROXY with other.invalid" in message and "secret" not in message
            before = len(asked)
            monkeypatch.setenv("NO_PROXY", "other.invalid")
            with (
                Client("other.invalid:8500", model="m", retry=retry) as client,
                pytest.raises(ServerUnavailable) as raised,
            ):
                client.sample(1)
            assert "proxy" not in str(raised.value) and len(asked) == before
