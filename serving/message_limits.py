"""Protobuf messages from strangers, counted before they are parsed.

A limit of bytes on the wire is none of memory or of time: 60 MB can hold 30 million empty messages, which take 5 GB and
seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

FIELD_BYTES = 1024
"""What a field counts beside its content: an empty message takes some 200 bytes, a Python object for it as much."""
FIXED_BYTES = {
    FieldDescriptor.TYPE_DOUBLE: 8,
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_FIXED64: 8,
    FieldDescriptor.TYPE_FLOAT: 4,
    FieldDescriptor.TYPE_SFIXED32: 4,
    FieldDescriptor.TYPE_SFIXED64: 8,
}
"""Bytes of a number on the wire, by its type; all other numbers have at least one."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_WIRE_BYTES = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES = 8
"""A byte of packed varints may become a number of eight."""
_MAX_DEPTH = 64
"""Messages within each other; protobuf's own limit is 100."""


class MalformedMessage(ValueError):
    """The bytes are no message of the class that was expected."""


class MessageTakesTooMuch(ValueError):
    """The message counts more than it may."""


class Measure(NamedTuple):
    """What the fields of a message count."""

    field: int
    """Each by itself."""
    content: Callable[[FieldDescriptor | None], tuple[int, int]]
    """Numbers (a, b) of a field that is no message: its n bytes, where they have a length, count n * a // b more.

    The field is None where the class has none of that number.
    """


def _memory(field: FieldDescriptor | None) -> tuple[int, int]:
    is_as_sent = field is None or field.cpp_type == FieldDescriptor.CPPTYPE_STRING or field.type in FIXED_BYTES
    return (1 if is_as_sent else _VARINT_BYTES), 1


MEMORY = Measure(FIELD_BYTES, _memory)
"""About the bytes that a message takes in memory."""


def parse(message_class: Any, data: bytes, *, max_bytes: int) -> Any:
    """Parses a message that takes at most about `max_bytes` of memory; nothing is built of one that takes more.

    Raises:
      MalformedMessage: if `data` is no message of the class.
      MessageTakesTooMuch: if it has too many fields, or too much in them.
    """
    kind = message_class.DESCRIPTOR
    if not counts_at_most(data, kind, MEMORY, max_bytes):
        raise MessageTakesTooMuch(
            f"the {len(data):,} bytes of {kind.name} would take more than {max_bytes:,} in memory"
        )
    try:
        return message_class.FromString(data)
    except (DecodeError, ValueError) as error:  # ValueError: a string that is not UTF-8, in protobuf's pure Python
        raise MalformedMessage(f"no {kind.name}: {error}") from error


def counts_at_most(data: bytes, kind: Descriptor, measure: Measure, limit: int) -> bool:
    """Walks the fields of all messages in `data` until they count more than `limit`, or lie too deep.

    Raises MalformedMessage where the bytes are no message of that kind.
    """
    try:
        return _counts_at_most(data, kind, measure, limit)
    except (IndexError, KeyError):  # cut in a number; or a group, which proto3 has not
        raise MalformedMessage(f"no {kind.name}: its fields do not fit into its {len(data):,} bytes") from None


def _counts_at_most(data: bytes, kind: Descriptor, measure: Measure, limit: int) -> bool:
    counted, field_counts, unknown = 0, measure.field, measure.content(None)
    around: list[tuple[int, Mapping[int, Any]]] = []  # ends and fields of the messages that this one lies in
    position, end, contents = 0, len(data), _contents(kind, measure)
    while True:
        while position == end:
            if not around:
                return True
            end, contents = around.pop()
        counted += field_counts
        key = data[position]
        position += 1
        if key > 127:
            key, position = _varint(data, position - 1)
        number, wire_type = key >> 3, key & 7
        if not number:
            raise IndexError("there is no field 0, which some parsers take for the end")
        if wire_type == _LENGTH:
            size = data[position]
            position += 1
            if size > 127:
                size, position = _varint(data, position - 1)
            after = position + size
            if after > end:
                raise IndexError("a field is longer than its message")
            content = contents.get(number, unknown)
            if isinstance(content, tuple):
                counted += size * content[0] // content[1]
                position = after
            else:
                around.append((end, contents))
                end, contents = after, _contents(content, measure)
                if len(around) == _MAX_DEPTH:
                    return False
        elif wire_type == _VARINT:
            while data[position] > 127:
                position += 1
            position += 1
        else:
            position += _FIXED_WIRE_BYTES[wire_type]
        if counted > limit:
            return False
        if position > end:
            raise IndexError("a number is longer than its message")


@functools.cache
def _contents(kind: Descriptor, measure: Measure) -> Mapping[int, Descriptor | tuple[int, int]]:
    """What each field that has a length holds, by its number: a message, or what its bytes count."""
    return {field.number: field.message_type or measure.content(field) for field in kind.fields}


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads a number of up to 64 bits; returns it and where it ends. Raises IndexError where the bytes end first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise IndexError("a number of more than ten bytes")
