"""What a gRPC client that nobody should write may send: HTTP/2, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

_DATA, HEADERS, _RESET, _SETTINGS, _PING = 0, 1, 3, 4, 6
_INITIAL_WINDOW = 4
_BEGINNING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def first_call(method: str, message: bytes, *, window: int = 65_535) -> bytes:
    """Makes a client's first bytes: a call of a method, whose answer may have so many bytes until it asks for more."""
    settings = _frame(_SETTINGS, 0, 0, struct.pack("!HI", _INITIAL_WINDOW, window))
    body = struct.pack("!BI", 0, len(message)) + message
    return _BEGINNING + settings + _frame(HEADERS, 4, 1, _head(method)) + _frame(_DATA, 1, 1, body)


def flood(connection: socket.socket, kind: str, seconds: float) -> None:
    """Sends frames of a kind for so long, or until the connection is closed."""
    head = _head("/tensorflow.serving.PredictionService/Predict")
    cancelled = struct.pack("!I", 8)
    ping = _frame(_PING, 0, 0, bytes(8))
    kinds: dict[str, Callable[[int], bytes]] = {
        "pings": lambda _: ping,
        "settings": lambda _: _frame(_SETTINGS, 0, 0, struct.pack("!HI", _INITIAL_WINDOW, 65_535)),
        "empty data": lambda _: _frame(_DATA, 0, 1, b""),
        "unknown frames": lambda _: _frame(77, 0, 0, bytes(9)),
        "calls that are taken back": lambda n: (
            _frame(HEADERS, 4, 2 * n + 3, head) + _frame(_RESET, 0, 2 * n + 3, cancelled)
        ),
    }
    threading.Thread(target=_drain, args=(connection,), daemon=True).start()
    end, sent = time.monotonic() + seconds, 0
    with contextlib.suppress(OSError):
        connection.sendall(_BEGINNING + _frame(_SETTINGS, 0, 0, b"") + _frame(HEADERS, 4, 1, head))
        while time.monotonic() < end:
            connection.sendall(b"".join(kinds[kind](number) for number in range(sent, sent + 100)))
            sent += 100


def frames(connection: socket.socket) -> Iterator[int]:
    """Yields the kind of each frame that arrives, until the connection is closed."""
    with connection.makefile("rb") as stream:
        while head := stream.read(9):
            stream.read(int.from_bytes(head[:3], "big"))
            yield head[3]


def _head(method: str) -> bytes:
    # HPACK: names of its table, and values that are neither compressed nor remembered.
    http_method, scheme, path, authority = b"\x83", b"\x86", b"\x04", b"\x01"
    head = http_method + scheme + path + _text(method.encode()) + authority + _text(b"localhost")
    head += b"\x00" + _text(b"content-type") + _text(b"application/grpc")
    return head + b"\x00" + _text(b"te") + _text(b"trailers")


def _drain(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(65_536):
            pass


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _text(value: bytes) -> bytes:
    return bytes([len(value)]) + value
