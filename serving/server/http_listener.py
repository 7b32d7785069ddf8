"""Listens for HTTP on the event loop with uvicorn, and lets no connection that is slow or idle keep others out.

uvicorn is what most ASGI applications run on; its parser, httptools, is that of Node.js and refuses what two servers
could understand differently: two lengths of a body, a length beside chunks. It has no deadline for a request's head
and no bound on it, nor on a caller that reads no answer; these are here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import socket
import sys
from typing import Any

import httptools
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

_HEAD_SECONDS = 10.0
_HEAD_BYTES = 64 * 2**10
_IDLE_SECONDS = 60
_STALLED_SECONDS = 30.0
"""That a caller may take to read the next 64 KiB of its answer, or to send the rest of a body that was refused."""
_READING_SECONDS = 1200.0
"""That it may take to read all of it, for its memory is taken until then; as long as a connection of gRPC may."""
_GONE_SECONDS = 1.0
"""From the last word of a caller that waits for an answer to each look whether it is still there."""
_TCP_CLOSE = 7
"""TCP_INFO's state of a connection that the other side has reset."""
_BUSY_CONNECTIONS = 64
"""Connections beyond the most that get the answer that there are too many."""

_BUSY = b'{"error": "All connections of this server are at work: try again later."}'


class HttpListener:
    """Serves an ASGI application at an address."""

    def __init__(self, app: ASGIApp, *, host: str, port: int, max_connections: int, grace_seconds: float) -> None:
        """Binds the port. Raises OSError where it is taken."""
        self._socket = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=1024,
            dualstack_ipv6=":" in host,
        )
        protocol = type("_OwnConnection", (_Connection,), {"idle": {}, "sending": {}, "most": max_connections})
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                interface="asgi3",
                loop="none",
                http=protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                # It warns of each request that is malformed; the application logs what goes wrong in it.
                log_level=logging.CRITICAL,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_IDLE_SECONDS,
                timeout_graceful_shutdown=math.ceil(grace_seconds),
            )
        )
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Begins to answer; called on the loop that it then runs on."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started:
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Takes no more connections, and returns when all requests under way are answered or the grace has passed."""
        if self._serving is None:
            self._socket.close()
        else:
            self._server.should_exit = True
            await self._serving


class _Connection(HttpToolsProtocol):
    """A connection whose caller must send a head in time and read its answers."""

    idle: dict[_Connection, None]
    """A listener's connections that have no request under way, the one that has been so for longest first."""
    sending: dict[_Connection, None]
    """Those whose request's body is still to come, the one whose head came first before the others."""
    most: int

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._received = b""
        self._plain_head: bytes | None = None
        """The head of a request that asked for another protocol, without that."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._read_by: float | None = None
        """When an answer that its caller did not take at once must have been read."""
        self._gone_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Makes room for the connection, or answers on it that there is none."""
        super().connection_made(transport)
        # Without it an answer's body waits for the caller to acknowledge its head; asyncio sets it on its own sockets.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        excess = len(self.connections) - self.most
        if excess > 0:
            if waiting := self.idle or self.sending:
                next(iter(waiting)).end()
            elif excess > _BUSY_CONNECTIONS:
                transport.abort()
            else:
                self.app = _answer_busy
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timers."""
        self.idle.pop(self, None)
        self.sending.pop(self, None)
        self._cancel_head_timer()
        for timer in (self._stall_timer, self._gone_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what arrives, and ends a connection whose head, or what follows a body, is too long."""
        if self._head_bytes > _HEAD_BYTES:
            if self in self.idle and not self._in_body:
                self.send_400_response(f"The head of the request has more than {_HEAD_BYTES} bytes.")
            else:
                self.end()  # It sends its next request, or the end of this one, while it waits for an answer.
            return
        if self in self.idle and not self._in_body and self._head_timer is None:
            self._await_head()
        self._head_bytes += len(data)
        self._received = data
        super().data_received(data)
        self._received = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a header; not one that follows a body, which nobody reads."""
        if not self._in_body:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Hands on a piece of the body, which the application bounds."""
        self._head_bytes = 0
        super().on_body(body)

    def eof_received(self) -> bool:  # type: ignore[override]  # As asyncio declares it.
        """Answers what was asked, for a caller may say that it asks nothing more."""
        if self in self.idle or self._in_body:
            return False  # It closes the connection.
        self.cycle.keep_alive = False
        self._gone_timer = self.loop.call_later(_GONE_SECONDS, self._ask_whether_gone)
        return True

    def _ask_whether_gone(self) -> None:
        """Sends a line that every caller passes over, for only an answer tells one that reads from one that hung up."""
        # Where a request waits behind it, `cycle` is that one's.
        if not (self.pipeline or self.cycle.response_started) and self.cycle.scope["http_version"] == "1.1":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._end_if_gone()

    def _end_if_gone(self) -> None:
        connection = self.transport.get_extra_info("socket")
        if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE:
            self.end()
        else:
            self._gone_timer = self.loop.call_later(_GONE_SECONDS, self._end_if_gone)

    def on_headers_complete(self) -> None:
        """Lets the application answer."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
            lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
            self._plain_head = b"\r\n".join([*lines, b"", b""])
            return
        self._head_bytes = 0
        self._cancel_head_timer()
        self.idle.pop(self, None)
        self.sending[self] = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Waits for the next request where this one was refused before its body came."""
        if self._plain_head is not None:
            return
        super().on_message_complete()
        self.sending.pop(self, None)
        if self in self.idle:
            self._await_head()

    def _unsupported_upgrade_warning(self) -> None:
        """Answers a request that asked for HTTP/2 as if it had not, as Java's own client expects.

        The parser takes what follows the head of such for another protocol, and so a body for the next request.
        """
        head, self._plain_head = self._plain_head, None
        if head is not None:
            (rest,) = sys.exc_info()[1].args  # type: ignore[union-attr]  # Of the parser: where it has stopped.
            self.parser = httptools.HttpRequestParser(self)
            self._received = head + self._received[rest:]
            super().data_received(self._received)

    def on_response_complete(self) -> None:
        """Waits for the next request, and for no longer than a moment for the rest of a body that was refused."""
        super().on_response_complete()
        self._read_by = None
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._await_head()
            if not self._in_body:
                self._cancel_head_timer()  # uvicorn's, for idle connections, is longer.

    def pause_writing(self) -> None:
        """Gives the caller time to read."""
        super().pause_writing()
        now = self.loop.time()
        if self._read_by is None:
            self._read_by = now + _READING_SECONDS
        self._stall_timer = self.loop.call_at(min(now + _STALLED_SECONDS, self._read_by), self.end)

    def resume_writing(self) -> None:
        """Goes on."""
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()

    def timeout_keep_alive_handler(self) -> None:
        """Ends a connection that asks nothing."""
        self.end()

    def end(self) -> None:
        """Ends the connection at once: what is not sent by now, its caller does not read."""
        self.idle.pop(self, None)
        self.sending.pop(self, None)
        self.transport.abort()

    @property
    def _in_body(self) -> bool:
        return self in self.sending

    def _await_head(self) -> None:
        self._cancel_head_timer()
        self.idle[self] = None
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._end_for_its_head)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_for_its_head(self) -> None:
        if self._in_body:
            self.end()
        else:
            self._refuse(408, f"The head of a request did not come within {_HEAD_SECONDS:g} s.")

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP."""
        self._refuse(400, msg)

    def _refuse(self, status: int, reason: str) -> None:
        body = json.dumps({"error": reason}).encode()
        head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()
        # Where the caller does not read that either.
        self._stall_timer = self.loop.call_later(_HEAD_SECONDS, self.transport.abort)


async def _answer_busy(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_BUSY)).encode())]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": _BUSY})
