"""Protobuf messages from strangers, parsed only where the memory that they would take is bounded."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

FIELD_BYTES = 1024
"""What a field counts beside its content: an empty message takes some 200 bytes, a Python object for it as much."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_VARINT_BYTES = 8
"""A byte of packed varints may become a number of eight."""
_FIXED_TYPES = {
    FieldDescriptor.TYPE_BYTES,
    FieldDescriptor.TYPE_DOUBLE,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_FLOAT,
    FieldDescriptor.TYPE_SFIXED32,
    FieldDescriptor.TYPE_SFIXED64,
    FieldDescriptor.TYPE_STRING,
}


class MalformedMessage(ValueError):
    """The bytes are no message of the class that was expected."""


class MessageTakesTooMuch(ValueError):
    """The message would take more memory than it may."""


def parse(message_class: Any, data: bytes, *, max_bytes: int) -> Any:
    """Parses a message that takes at most about `max_bytes` of memory; nothing is built of one that takes more.

    A limit of bytes on the wire is none of memory: 60 MB can hold 30 million empty messages, which take 5 GB.

    Raises:
      MalformedMessage: if `data` is no message of the class.
      MessageTakesTooMuch: if it has too many fields, or too much in them.
    """
    _check(data, message_class.DESCRIPTOR, max_bytes)
    try:
        return message_class.FromString(data)
    except (DecodeError, ValueError) as error:  # ValueError: a string that is not UTF-8, in protobuf's pure Python
        raise MalformedMessage(f"no {message_class.DESCRIPTOR.name}: {error}") from error


def _check(data: bytes, descriptor: Any, max_bytes: int) -> None:
    """Walks the fields of all messages in `data` until they count more than `max_bytes`."""
    counted = 0
    messages = [(0, len(data), descriptor)]
    while messages:
        position, end, kind = messages.pop()
        fields = kind.fields_by_number
        try:
            while position < end:
                key, position = (data[position], position + 1) if data[position] < 0x80 else _varint(data, position)
                counted += FIELD_BYTES
                number, wire_type = key >> 3, key & 7
                if not number:
                    raise IndexError("there is no field 0, which some parsers take for the end")
                if wire_type == _BYTES:
                    size, position = _varint(data, position)
                    field = fields.get(number)
                    if field is not None and field.message_type is not None:
                        messages.append((position, position + size, field.message_type))
                    else:
                        counted += size * (1 if field is None or field.type in _FIXED_TYPES else _VARINT_BYTES)
                    position += size
                elif wire_type == _VARINT:
                    _, position = _varint(data, position)
                else:
                    position += _FIXED_SIZES[wire_type]
                if counted > max_bytes:
                    raise MessageTakesTooMuch(
                        f"the {len(data):,} bytes of {descriptor.name} would take more than {max_bytes:,} in memory"
                    )
        except (IndexError, KeyError):  # cut in a number; or a group, which proto3 has not
            position = -1
        if position != end:
            raise MalformedMessage(f"no {descriptor.name}: its fields do not fit into its {len(data):,} bytes")


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
