"""Protobuf messages declared as text and built at import, without generated modules and their imports."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_MESSAGE = re.compile(r"message (\w+) \{(.*?)\}", re.DOTALL)
_FIELD = re.compile(r"(repeated )?(?:map<string, (\w+)>|(\w+)) (\w+) = (\d+);")
_KIND = descriptor_pb2.FieldDescriptorProto


def declare(declarations: str, *, package: str) -> dict[str, Any]:
    """Builds the classes of messages in proto3.

    They live in a descriptor pool of their own, so a program may import generated modules of the same messages too.

    Args:
      declarations: messages as a .proto file has them, without nested ones, enums, oneofs and comments. An enum is
        declared as int32, which is the same on the wire; a map's key is a string.
      package: the messages' package.

    Returns:
      The classes by name.

    Raises:
      ValueError: if the text holds anything else.
    """
    rest = _MESSAGE.sub("", declarations).strip()
    if rest:
        raise ValueError(f"Not a declaration of a message: {rest!r}; expected `message Name {{ fields }}`.")
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}.proto", package=package, syntax="proto3"
    )
    for name, body in _MESSAGE.findall(declarations):
        rest = _FIELD.sub("", body).strip()
        if rest:
            raise ValueError(f"Not a field of {name}: {rest!r}; expected `[repeated] type name = number;`.")
        message = file.message_type.add(name=name)
        for repeated, map_value, kind, field, number in _FIELD.findall(body):
            if map_value:
                # What protoc makes of a map field.
                entry = message.nested_type.add(name="".join(part.title() for part in field.split("_")) + "Entry")
                entry.options.map_entry = True
                _add_field(entry, package, "string", "key", 1)
                _add_field(entry, package, map_value, "value", 2)
                kind, repeated = f"{name}.{entry.name}", "repeated"
            _add_field(message, package, kind, field, int(number), repeated=bool(repeated))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {message.name: _class(pool, f"{package}.{message.name}") for message in file.message_type}


def _add_field(message: Any, package: str, kind: str, name: str, number: int, *, repeated: bool = False) -> None:
    field = message.field.add(name=name, number=number)
    field.label = _KIND.LABEL_REPEATED if repeated else _KIND.LABEL_OPTIONAL
    scalar = f"TYPE_{kind.upper()}"
    if scalar in _KIND.Type.DESCRIPTOR.values_by_name:
        field.type = _KIND.Type.Value(scalar)
    else:
        field.type = _KIND.TYPE_MESSAGE
        field.type_name = f".{package}.{kind}"


def _class(pool: Any, full_name: str) -> Any:
    descriptor = pool.FindMessageTypeByName(full_name)
    # protobuf 3.20 has the one, protobuf 5 and later the other.
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)
