"""Parses gRPC's requests and serializes its responses, within bounds of memory and of time on the event loop.

gRPC itself would parse on the event loop whatever arrives, and protobuf holds Python's lock meanwhile: 60 MB of empty
fields take seconds and gigabytes. So the messages come as bytes, and are counted before they are parsed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import descriptor
from google.protobuf.message import DecodeError

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
_MAX_DEPTH = 64
_MESSAGE_SECONDS = 30.0
"""That a call's message may take to arrive."""
_SMALL_REQUEST_BYTES = 64 * 2**10
"""A request to a service of gRPC's own, reflection or the watch of health."""
_COPIES = 3
"""Of a message in memory at a time: what gRPC read or writes, protobuf's, and the arrays."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclasses.dataclass(frozen=True)
class _Fields:
    """What counting needs to know of a message type."""

    messages: Mapping[int, _Fields | descriptor.Descriptor]
    packed: Mapping[int, int]
    """The least bytes of a value, by the number of the field."""


class TooManyFields(Exception):
    """A message that has more fields than may be counted."""


class MessageLimits(grpc.aio.ServerInterceptor):
    """Bounds the messages of every method of a server, and answers INVALID_ARGUMENT to bytes that are none."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
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
        if handler.request_streaming or handler.response_streaming:
            return handler._replace(request_deserializer=_small_only(handler.request_deserializer))
        message_class = handler.request_deserializer.__self__

        # gRPC would wait for the message of a unary method for ever; of a stream it lets us wait.
        async def answer(_: Any, context: grpc.aio.ServicerContext) -> bytes:
            try:
                return await respond(context)
            except status_error.StatusError as error:
                code, message = error.code, error.message
            # gRPC's own error leads to this frame, and this frame through the context to the error, so that both
            # stay until the garbage is collected: nothing large may be in a variable here.
            return await context.abort(code, message)

        async def respond(context: grpc.aio.ServicerContext) -> bytes:
            raw = await _read_in_time(context)
            if raw is grpc.aio.EOF:
                raise status_error.invalid("The call has no message.")
            with self._budget.reserve(_COPIES * len(raw)) as memory:
                request = await self._parse(message_class, raw)
                del raw
                answer = await self._serialize(await handler.unary_unary(request, context))
                if len(answer) > _INLINE_BYTES:
                    # Until the caller has read it. Not for each call: gRPC keeps a call that has a callback, and all
                    # that belongs to it, as a circle, and counts it as open until the garbage is collected.
                    sent = memory.move()
                    context.add_done_callback(lambda _: sent.release())
            return answer

        return grpc.stream_unary_rpc_method_handler(answer)

    async def _parse(self, message_class: Any, raw: bytes) -> Any:
        if len(raw) <= _UNCOUNTED_BYTES or (
            len(raw) <= _INLINE_BYTES and _has_few_fields(message_class.DESCRIPTOR, raw, _INLINE_FIELDS)
        ):
            return parse_message(message_class, raw, counted=True)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, parse_message, message_class, raw)

    async def _serialize(self, response: Any) -> bytes:
        if response.ByteSize() <= _INLINE_BYTES:
            return response.SerializeToString()
        return await asyncio.get_running_loop().run_in_executor(self._threads, response.SerializeToString)


async def _read_in_time(context: grpc.aio.ServicerContext) -> Any:
    # A timer, for it costs a tenth of what wait_for and anyio's scopes do, at each call.
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    late = loop.call_later(_MESSAGE_SECONDS, task.cancel)
    try:
        return await context.read()
    except asyncio.CancelledError:
        if loop.time() < late.when():
            raise  # The caller hung up.
        reason = f"No message came within {_MESSAGE_SECONDS:g} s."
        raise status_error.StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, reason) from None
    finally:
        late.cancel()


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


def _has_few_fields(kind: descriptor.Descriptor, raw: bytes, limit: int) -> bool:
    """Returns whether a message has at most so many fields. Raises StatusError where the bytes are none."""
    try:
        _count(raw, 0, len(raw), _fields(kind), limit, _MAX_DEPTH)
    except TooManyFields:
        return False
    except (IndexError, ValueError):
        raise _no_message(kind, raw) from None
    return True


def _count(raw: bytes, at: int, end: int, fields: _Fields, left: int, depth: int) -> int:
    """Counts the fields from `at` to `end` off `left`, and returns what is left."""
    if not depth:
        raise TooManyFields
    messages, packed = fields.messages, fields.packed
    while at < end:
        left -= 1
        if left < 0:
            raise TooManyFields
        tag = raw[at]
        at += 1
        if tag > 127:
            tag, at = _varint(raw, at - 1)
        wire, number = tag & 7, tag >> 3
        if wire == _LENGTH:
            size = raw[at]
            at += 1
            if size > 127:
                size, at = _varint(raw, at - 1)
            after = at + size
            if after > end:
                raise ValueError
            if number in messages:
                nested = messages[number]
                left = _count(raw, at, after, _fields(nested), left, depth - 1)
            elif number in packed:
                left -= size // packed[number] // _VALUES_PER_FIELD
                if left < 0:
                    raise TooManyFields
            at = after
        elif wire == _VARINT:
            while raw[at] > 127:
                at += 1
            at += 1
        elif wire == _FIXED32:
            at += 4
        elif wire == _FIXED64:
            at += 8
        else:
            # A group, which no message here has; what it holds could be taken for fields of this message.
            raise ValueError
    if at > end:
        raise ValueError
    return left


def _no_message(kind: descriptor.Descriptor, raw: bytes) -> status_error.StatusError:
    return status_error.invalid(f"The request's {len(raw)} bytes are no {kind.full_name}.")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Reads a number of at most ten bytes; returns it and where the next field is."""
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError


@functools.cache
def _fields(kind: descriptor.Descriptor) -> _Fields:
    messages, packed = {}, {}
    for field in kind.fields:
        if field.message_type is not None:
            messages[field.number] = field.message_type
        elif field.cpp_type != field.CPPTYPE_STRING:
            width = {field.TYPE_FLOAT: 4, field.TYPE_FIXED32: 4, field.TYPE_SFIXED32: 4}
            width |= {field.TYPE_DOUBLE: 8, field.TYPE_FIXED64: 8, field.TYPE_SFIXED64: 8}
            packed[field.number] = width.get(field.type, 1)
    return _Fields(messages, packed)


def _small_only(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def small(raw: bytes) -> Any:
        if len(raw) > _SMALL_REQUEST_BYTES:
            raise ValueError(f"The request has {len(raw)} bytes; this method takes at most {_SMALL_REQUEST_BYTES}.")
        return deserialize(raw)

    return small
