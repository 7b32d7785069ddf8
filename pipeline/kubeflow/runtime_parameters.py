"""Parses runtime parameters from a command line into the types of a pipeline's specification."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

# TFX's name for the root of artifacts, which every pipeline takes outside its specification.
ROOT = "pipeline-root"

_BOOLEANS = {"true": True, "false": False}


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")  # JSON has no such number.
    return value


def _json(text: str, expected: type) -> Any:
    value = json.loads(text)
    if not isinstance(value, expected):
        raise ValueError(f"{text} is no {expected.__name__}")
    return value


_TYPES: dict[str, tuple[Callable[[str], Any], str]] = {
    "STRING": (str, "text"),
    "NUMBER_INTEGER": (int, "an integer"),
    "NUMBER_DOUBLE": (_finite, "a number"),
    "BOOLEAN": (lambda text: _BOOLEANS[text.lower()], "true or false"),
    "LIST": (lambda text: _json(text, list), "a list in JSON"),
    "STRUCT": (lambda text: _json(text, dict), "an object in JSON"),
}


def typed(definitions: Mapping[str, Mapping[str, Any]], given: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values of a run by name.

    Args:
        definitions: the parameters of the specification, by name, as `pipeline_spec.parameters` has them.
        given: the user's text by name.

    Raises:
        ValueError: a name is unknown, a value is not of its type, or a parameter without a default has no value.
    """
    unknown = sorted(set(given) - set(definitions))
    if unknown:
        raise ValueError(
            f"This pipeline has no runtime parameter {', '.join(map(repr, unknown))}. It has {_names(definitions)}."
        )
    missing = [
        name
        for name, definition in definitions.items()
        if name not in given and "defaultValue" not in definition and not definition.get("isOptional")
    ]
    if missing:
        raise ValueError(
            f"This pipeline has no default for {', '.join(map(repr, missing))}. "
            f"Give each a value: --runtime_parameter {missing[0]}=VALUE."
        )
    return {name: _value(name, definitions[name]["parameterType"], text) for name, text in given.items()}


def _names(definitions: Mapping[str, Mapping[str, Any]]) -> str:
    kinds = {name: _TYPES.get(definition["parameterType"], (str, "?"))[1] for name, definition in definitions.items()}
    return ", ".join([*(f"{name} ({kinds[name]})" for name in sorted(kinds)), f"{ROOT} (an address)"])


def _value(name: str, type_name: str, text: str) -> Any:
    if type_name not in _TYPES:
        raise ValueError(f"Runtime parameter {name!r} is a {type_name}, which cannot be given on a command line.")
    parse, kind = _TYPES[type_name]
    try:
        return parse(text)
    except (KeyError, ValueError) as error:
        raise ValueError(f"Runtime parameter {name!r} has to be {kind}; it is {text!r}.") from error
