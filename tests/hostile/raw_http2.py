"""What a gRPC client that nobody should write may send: HTTP/2, byte by byte."""

from __future__ import annotations

import socket
import struct

_SETTINGS, _HEADERS, _DATA = 4, 1, 0
_INITIAL_WINDOW = 4


def first_call(method: str, message: bytes, *, window: int = 65_535) -> bytes:
    """Makes a client's first bytes: a call of a method, whose answer may have so many bytes until it asks for more."""
    # HPACK: names of its table, and values that are neither compressed nor remembered.
    http_method, scheme, path, authority = b"\x83", b"\x86", b"\x04", b"\x01"
    head = http_method + scheme + path + _text(method.encode()) + authority + _text(b"localhost")
    head += b"\x00" + _text(b"content-type") + _text(b"application/grpc")
    head += b"\x00" + _text(b"te") + _text(b"trailers")
    settings = _frame(_SETTINGS, 0, 0, struct.pack("!HI", _INITIAL_WINDOW, window))
    body = struct.pack("!BI", 0, len(message)) + message
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + _frame(_HEADERS, 4, 1, head) + _frame(_DATA, 1, 1, body)


def wait_for_head(connection: socket.socket) -> None:
    """Reads until an answer begins."""
    with connection.makefile("rb") as stream:
        while (head := stream.read(9))[3] != _HEADERS:
            stream.read(int.from_bytes(head[:3], "big"))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def _text(value: bytes) -> bytes:
    return bytes([len(value)]) + value
