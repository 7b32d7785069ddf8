"""Parses gRPC's requests and serializes its responses, within bounds of memory and of time on the event loop.

gRPC itself would parse on the event loop whatever arrives, and protobuf holds Python's lock meanwhile: 60 MB of empty
fields take seconds and gigabytes. So the messages come as bytes, and are counted before they are parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
_SMALL_REQUEST_BYTES = 64 * 2**10
"""A request to a service of gRPC's own, reflection or the watch of health."""
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

    async def _parse(self, message_class: Any, raw: bytes) -> Any:
        if len(raw) <= _UNCOUNTED_BYTES or (
            len(raw) <= _INLINE_BYTES and _has_few_fields(message_class.DESCRIPTOR, raw, _INLINE_FIELDS)
        ):
            return parse_message(message_class, raw, counted=True)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, parse_message, message_class, raw)


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


def _has_few_fields(kind: Descriptor, raw: bytes, limit: int) -> bool:
    """Returns whether a message has at most so many fields. Raises StatusError where the bytes are none."""
    try:
        return message_limits.counts_at_most(raw, kind, _PARSING, limit)
    except message_limits.MalformedMessage:
        raise _no_message(kind, raw) from None


def _no_message(kind: Descriptor, raw: bytes) -> status_error.StatusError:
    return status_error.invalid(f"The request's {len(raw)} bytes are no {kind.full_name}.")


def _small_only(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def small(raw: bytes) -> Any:
        if len(raw) > _SMALL_REQUEST_BYTES:
            raise ValueError(f"The request has {len(raw)} bytes; this method takes at most {_SMALL_REQUEST_BYTES}.")
        return deserialize(raw)

    return small
