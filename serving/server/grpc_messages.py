"""Parses gRPC's requests and serializes its responses, within bounds of memory and of time on the event loop.

gRPC itself would parse on the event loop whatever arrives, and protobuf holds Python's lock meanwhile: 60 MB of empty
fields take seconds and gigabytes. So the messages come as bytes, and are counted before they are parsed.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from concurrent import futures
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from serving import message_limits
from serving.server import status_error
from serving.server.memory_budget import MemoryBudget

MAX_FIELDS = 300_000
"""Fields of a message, with those of its messages; protobuf parses so many in less than 50 ms."""
_VALUES_PER_FIELD = 5
"""Values that are packed into one field and take as long to parse as a field by itself."""
_UNCOUNTED_BYTES = 16 * 2**10
_INLINE_FIELDS = 1_000
_INLINE_BYTES = 2**20
"""A message is counted, parsed and printed on the event loop up to these; a larger one on a thread."""
_MESSAGE_SECONDS = 30.0
"""That a call's message may take to arrive."""
_LEAST_ARRIVING = 16
"""Calls that may wait for their messages at a time, where the memory is for fewer."""
_SMALL_REQUEST_BYTES = 64 * 2**10
"""A request to a service of gRPC's own, reflection or the watch of health."""
_GZIP = b"\x1f\x8b"
"""No message begins so: there is no field of that type."""
_COPIES = 3
"""Of a message in memory at a time: what gRPC read or writes, protobuf's, and the arrays."""


def _parsing(field: FieldDescriptor | None) -> tuple[int, int]:
    if field is None or field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return 0, 1
    return 1, _VALUES_PER_FIELD * message_limits.FIXED_BYTES.get(field.type, 1)


_PARSING = message_limits.Measure(1, _parsing)
"""The time that a message takes to be parsed, in fields."""


class MessageLimits(grpc.aio.ServerInterceptor):
    """Bounds the messages of every method of a server, and answers INVALID_ARGUMENT to bytes that are none."""

    def __init__(self, budget: MemoryBudget, *, max_message_bytes: int) -> None:
        self._budget = budget
        # gRPC takes memory for a message before anybody may ask how large it is.
        self._most_arriving = max(_LEAST_ARRIVING, budget.capacity // 2 // max_message_bytes)
        self._max_message_bytes = max_message_bytes
        self._arriving: dict[asyncio.Task[Any], float] = {}
        """When the message of each call that waits for one must have come, the first first."""
        # One for all calls, for setting one and cancelling it would be a fiftieth of a call's time.
        self._late: asyncio.TimerHandle | None = None
        self._streams: dict[asyncio.Task[Any], None] = {}
        """Calls that answer with a stream, and so have no end of their own, the oldest first."""
        self.most_streams = 1000
        """Of those, so that connections that watch do not keep out all others."""
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}
        # Few, because they share Python's lock with the event loop.
        self._threads = futures.ThreadPoolExecutor(2, "messages")

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """Wraps the method's handler, once."""
        handler = self._handlers.get(details.method)
        if handler is None:
            handler = await continuation(details)
            if handler is None:
                return None  # A caller may invent any name, so nothing is kept.
            handler = self._handlers[details.method] = self._bounded(handler)
        return handler

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown()

    def _bounded(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        message_class = handler.request_deserializer.__self__
        if handler.unary_unary is None:
            return self._streaming(handler, message_class)

        # gRPC would wait for the message of a unary method for ever; of a stream it lets us wait.
        async def answer(_: Any, context: grpc.aio.ServicerContext) -> bytes:
            try:
                return await respond(context)
            except Exception as error:
                code, message = status_error.report(error, message_class.DESCRIPTOR.name)
            # gRPC's own error leads to this frame, and this frame through the context to the error, so that both
            # stay until the garbage is collected: nothing large may be in a variable here.
            return await context.abort(code, message)

        async def respond(context: grpc.aio.ServicerContext) -> bytes:
            raw = await self._read_in_time(context)
            if raw is grpc.aio.EOF:
                raise _empty_call()
            with self._budget.reserve(_COPIES * len(raw)) as memory:
                request = await self._parse(message_class, raw)
                del raw
                response = await handler.unary_unary(request, context)
                # What may be large comes serialized.
                answer = response if isinstance(response, bytes) else response.SerializeToString()
                if len(answer) > _INLINE_BYTES:
                    # Until the caller has read it. Not for each call: gRPC keeps a call that has a callback, and all
                    # that belongs to it, as a circle, and counts it as open until the garbage is collected.
                    sent = memory.move()
                    context.add_done_callback(lambda _: sent.release())
            return answer

        return grpc.stream_unary_rpc_method_handler(answer)

    def _streaming(self, handler: grpc.RpcMethodHandler, message_class: Any) -> grpc.RpcMethodHandler:
        """Wraps a method that answers with a stream; both are gRPC's own: the watch of health, reflection."""

        async def requests(context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            while (raw := await self._read_in_time(context)) is not grpc.aio.EOF:
                if len(raw) > _SMALL_REQUEST_BYTES:
                    reason = f"The request has {len(raw)} bytes; this method takes at most {_SMALL_REQUEST_BYTES}."
                    raise status_error.StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
                yield parse_message(message_class, raw)

        async def respond(context: grpc.aio.ServicerContext) -> None:
            if handler.stream_stream is not None:
                async for response in handler.stream_stream(requests(context), context):
                    await context.write(response)
            elif (request := await anext(requests(context), None)) is not None:
                await handler.unary_stream(request, context)
            else:
                raise _empty_call()

        async def answer(_: Any, context: grpc.aio.ServicerContext) -> None:
            task = asyncio.current_task()
            assert task is not None
            if len(self._streams) >= self.most_streams:
                oldest = next(iter(self._streams))
                del self._streams[oldest]
                oldest.cancel()
            self._streams[task] = None
            try:
                await respond(context)
                return
            except status_error.StatusError as error:
                code, reason = error.code, error.message
            except asyncio.CancelledError:
                if task in self._streams:
                    raise  # The caller hung up.
                code, reason = grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many others watch: ask again later."
            finally:
                self._streams.pop(task, None)
            await context.abort(code, reason)

        return grpc.stream_stream_rpc_method_handler(answer, None, handler.response_serializer)

    async def _read_in_time(self, context: grpc.aio.ServicerContext) -> Any:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        if len(self._arriving) == self._most_arriving:
            self._give_up(next(iter(self._arriving)))
        self._arriving[task] = until = loop.time() + _MESSAGE_SECONDS
        if self._late is None or until < self._late.when():
            self._give_up_late(loop)
        try:
            raw = await context.read()
        except asyncio.CancelledError:
            if task in self._arriving:
                raise  # The caller hung up.
            code, reason = grpc.StatusCode.DEADLINE_EXCEEDED, f"No message came within {_MESSAGE_SECONDS:g} s."
            if loop.time() < until:
                code = grpc.StatusCode.RESOURCE_EXHAUSTED
                reason = "The message came slowly, and too many others come: try again later."
            raise status_error.StatusError(code, reason) from None
        finally:
            self._arriving.pop(task, None)
        if raw is not grpc.aio.EOF and raw.startswith(_GZIP):
            raw = await loop.run_in_executor(self._threads, _unpack, raw, self._max_message_bytes)
        return raw

    def _give_up_late(self, loop: asyncio.AbstractEventLoop) -> None:
        """Gives up the calls whose time is over, and comes back when that of the next one is."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        for task, until in [*self._arriving.items()]:
            if until > loop.time():
                self._late = loop.call_at(until, self._give_up_late, loop)
                return
            self._give_up(task)

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        del self._arriving[task]
        task.cancel()

    async def _parse(self, message_class: Any, raw: bytes) -> Any:
        if len(raw) <= _UNCOUNTED_BYTES or (
            len(raw) <= _INLINE_BYTES and _has_few_fields(message_class.DESCRIPTOR, raw, _INLINE_FIELDS)
        ):
            return parse_message(message_class, raw, counted=True)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, parse_message, message_class, raw)


def parse_message(message_class: Any, raw: bytes, *, counted: bool = False) -> Any:
    """Parses a message.

    Raises:
      StatusError: INVALID_ARGUMENT where the bytes are none, RESOURCE_EXHAUSTED where it has too many fields.
    """
    if not counted and not _has_few_fields(message_class.DESCRIPTOR, raw, MAX_FIELDS):
        raise status_error.StatusError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"The {message_class.DESCRIPTOR.full_name} has more than {MAX_FIELDS} fields, or {_VALUES_PER_FIELD} times "
            "as many numbers one by one: send them as tensor_content, which is one field, or send fewer rows.",
        )
    try:
        return message_class.FromString(raw)
    except DecodeError:
        raise _no_message(message_class.DESCRIPTOR, raw) from None


def _has_few_fields(kind: Descriptor, raw: bytes, limit: int) -> bool:
    """Returns whether a message has at most so many fields. Raises StatusError where the bytes are none."""
    try:
        return message_limits.counts_at_most(raw, kind, _PARSING, limit)
    except message_limits.MalformedMessage:
        raise _no_message(kind, raw) from None


def _no_message(kind: Descriptor, raw: bytes) -> status_error.StatusError:
    return status_error.invalid(f"The request's {len(raw)} bytes are no {kind.full_name}.")


def _empty_call() -> status_error.StatusError:
    return status_error.invalid("The call has no message.")


def _unpack(raw: bytes, most: int) -> bytes:
    """Unpacks a message. Raises StatusError where it is no gzip, or has more bytes than a message may have."""
    inflate = zlib.decompressobj(wbits=31)
    try:
        message = inflate.decompress(raw, most + 1)
    except zlib.error as error:
        raise status_error.invalid(f"The request's {len(raw)} bytes are no gzip: {error}.") from None
    if len(message) > most:
        raise status_error.StatusError(
            grpc.StatusCode.RESOURCE_EXHAUSTED, f"The request unpacks to more than {most} bytes: send fewer rows."
        )
    if not inflate.eof:
        raise status_error.invalid("The request's gzip ends too early.")
    return message
