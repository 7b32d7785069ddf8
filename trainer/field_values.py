"""Converts what a person wrote, a node of YAML, to the type of a field."""

from __future__ import annotations

import enum
import re
import types
import typing
from typing import Any

import yaml

from trainer import strict_yaml

_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts"}
_BOOLEANS = {"true": True, "false": False}
_NUMBER = re.compile(r"[-+]?(?:(?:\d(?:_?\d)*\.?\d*|\.\d+)(?:e[-+]?\d+)?|\.?inf|\.?nan)", re.IGNORECASE)


def convert(hint: Any, node: yaml.Node) -> Any:
    """Converts a node to a type; raises ValueError with what was expected.

    By the text and not by YAML's own guess, for which 1e-3 is a text and 010 is eight.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (kind,) = (argument for argument in arguments if argument is not type(None))
        if _is_none(node):
            return None
        try:
            return convert(kind, node)
        except ValueError as error:
            raise ValueError(f"{error}, or none") from error
    if origin is tuple:
        return _to_tuple(arguments, node)
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError(_EXPECTED.get(hint, "one value"))
    text = node.value
    if origin is typing.Literal:
        if text not in arguments:
            raise ValueError(f"{' or '.join(arguments)}, or the group's values below it")
        return text
    if hint is str:
        return text
    is_text = node.style in ("'", '"', "|", ">")
    if issubclass(hint, enum.Enum):
        try:
            return hint(text.lower())
        except ValueError as error:
            raise ValueError(f"one of {', '.join(member.value for member in hint)}") from error
    if is_text:
        raise ValueError(f"{_EXPECTED[hint]}, without quotes")
    if hint is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(_EXPECTED[bool])
        return _BOOLEANS[text.lower()]
    if not _NUMBER.fullmatch(text):
        raise ValueError(_EXPECTED[hint])
    number = float(re.sub(r"\.(?=inf|nan)", "", text.lower().replace("_", "")))
    if hint is float:
        return number
    if re.fullmatch(r"[-+]?\d+", text.replace("_", "")):
        return int(text.replace("_", ""))
    if not number.is_integer():  # inf and nan too
        raise ValueError(_EXPECTED[int])
    return int(number)


def _to_tuple(arguments: tuple[Any, ...], node: yaml.Node) -> tuple[Any, ...]:
    kind, is_open = arguments[0], arguments[-1] is Ellipsis
    size = "" if is_open else f"{len(arguments)} "
    if typing.get_origin(kind) is tuple:
        pairs = f"a list of lists of {' and '.join(_EXPECTED[part] for part in typing.get_args(kind))}"
        if not isinstance(node, yaml.SequenceNode):
            raise ValueError(f"{pairs}, such as [[0.25, 8]]")
        return tuple(_to_tuple(typing.get_args(kind), part) for part in node.value)
    expected = f"a list of {size}{_PLURALS.get(kind, 'values')}"
    if not isinstance(node, yaml.SequenceNode) or not (is_open or len(node.value) == len(arguments)):
        raise ValueError(f"{expected}, in brackets")
    kinds = [kind] * len(node.value) if is_open else list(arguments)
    try:
        return tuple(convert(kind, part) for kind, part in zip(kinds, node.value, strict=True))
    except ValueError as error:
        raise ValueError(expected) from error


def _is_none(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value.lower() in ("none", "null", "~", "")


def shown(node: yaml.Node) -> str:
    """Writes a node for an error message."""
    if isinstance(node, yaml.ScalarNode):
        return strict_yaml.shown(node.value) if node.value else "empty"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a group"
