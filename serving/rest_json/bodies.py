"""Bodies of TF Serving's REST requests as NumPy arrays."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from serving.images.example_features import EXAMPLE

MAX_ELEMENTS = 16 * 2**20
"""Values and lists of a body, to be counted before any is made."""
_MAX_TEXTS = 200_000
_MAX_NAMES = 1_000
_MAX_DIMS = 32
"""NumPy 1 has no more, and NumPy 2 iterates over no more."""
_FEATURE_LISTS = {int: "int64_list", float: "float_list", bytes: "bytes_list"}


class PredictBody(NamedTuple):
    """A predict request."""

    signature_name: str
    by_rows: bool
    """Whether it has `instances`, the row format, and not `inputs`, the column format."""
    columns: dict[str, np.ndarray]
    """Arrays of int64, uint64, float64, bool or objects, which are bytes; of the name "" where the body has none."""


class ClassifyBody(NamedTuple):
    """A classify request."""

    signature_name: str
    examples: list[bytes]
    """Serialized tf.Examples."""


def read_predict(body: bytes) -> PredictBody:
    """Reads a predict request. Raises ValueError where it is none, with the reason."""
    request = _object(body)
    by_rows = "instances" in request
    if by_rows == ("inputs" in request):
        raise ValueError("A predict request needs either 'instances', a list of rows, or 'inputs', by column.")
    columns = _columns_of_rows(request["instances"]) if by_rows else _columns(request["inputs"])
    if len(columns) > _MAX_NAMES:
        raise ValueError(f"The body names {len(columns)} inputs; no signature takes so many.")
    return PredictBody(_name(request), by_rows, {alias: _array(alias, value) for alias, value in columns.items()})


def read_classify(body: bytes) -> ClassifyBody:
    """Reads a classify request: its `examples`, each after the `context` that they share. Raises as `read_predict`."""
    request = _object(body)
    examples = request.get("examples")
    if not isinstance(examples, list) or not examples:
        raise ValueError("A classify request needs 'examples', a list with at least one object.")
    # A message's bytes after another's merge into it, and so an example's features win over the context's.
    context = _example(request["context"]) if "context" in request else b""
    return ClassifyBody(_name(request), [context + _example(features) for features in examples])


def count_elements(piece: bytes) -> int:
    """Counts the values in a piece of JSON, or more: each follows a comma, or begins its list or object."""
    return piece.count(b",") + piece.count(b"[") + piece.count(b"{")


def _object(body: bytes) -> dict[str, Any]:
    try:
        request = orjson.loads(body)
    except ValueError as error:
        # What JSON has not and TF Serving takes.
        if b"NaN" not in body and b"Infinity" not in body:
            raise ValueError(f"The body is no JSON: {error}.") from None
        try:
            request = json.loads(body)
        except (ValueError, RecursionError) as other:
            raise ValueError(f"The body is no JSON: {other}.") from None
    if not isinstance(request, dict):
        raise ValueError(f"The body must be a JSON object, not a {type(request).__name__}.")
    return request


def _name(request: dict[str, Any]) -> str:
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise ValueError("'signature_name' must be text.")
    return name


def _columns_of_rows(instances: Any) -> dict[str, Any]:
    if not isinstance(instances, list) or not instances:
        raise ValueError("'instances' must be a list with at least one row.")
    if not all(isinstance(row, dict) and row.keys() != {"b64"} for row in instances):
        return {"": instances}
    names = instances[0].keys()
    for row in instances:
        if row.keys() != names:
            raise ValueError(f"A row of 'instances' names {_listed(row)}; the first names {_listed(names)}.")
    return {alias: [row[alias] for row in instances] for alias in names}


def _columns(values: Any) -> dict[str, Any]:
    return values if isinstance(values, dict) and values.keys() != {"b64"} else {"": values}


def _array(alias: str, value: Any) -> np.ndarray:
    """Makes nested lists an array, and refuses lists of different lengths and values of different kinds."""
    try:
        # Of objects, because NumPy would make numbers of true, and text of numbers beside text.
        array = np.array(value, object)
    except ValueError as error:
        raise ValueError(f"{_input(alias)} is ragged: {error}.") from None
    if array.ndim > _MAX_DIMS:
        raise ValueError(f"{_input(alias)} has more than {_MAX_DIMS} dimensions.")
    kinds = set(map(type, array.flat))
    if list in kinds:
        raise ValueError(f"{_input(alias)} is ragged: its lists do not have the same length and depth.")
    if kinds <= {int, float}:
        if kinds != {int}:
            return array.astype(np.float64)
        try:
            return array.astype(np.int64)
        except OverflowError:
            return _unsigned(alias, array)
    if kinds == {bool}:
        return array.astype(bool)
    if kinds <= {str, dict}:
        if array.size > _MAX_TEXTS:
            raise ValueError(f"{_input(alias)} holds {array.size} texts; send at most {_MAX_TEXTS}.")
        texts = np.empty(array.size, object)
        texts[:] = [_bytes(alias, scalar) for scalar in array.flat]
        return texts.reshape(array.shape)
    first = next(array.flat)
    other = next((scalar for scalar in array.flat if type(scalar) is not type(first)), first)
    raise ValueError(f"{_input(alias)} holds {_shown(first)} and {_shown(other)}: send numbers, text or bools.")


def _unsigned(alias: str, array: np.ndarray) -> np.ndarray:
    try:
        return array.astype(np.uint64)
    except OverflowError:
        raise ValueError(f"{_input(alias)} holds an integer of more than 64 bits.") from None


def _bytes(alias: str, scalar: Any) -> bytes:
    if isinstance(scalar, str):
        return scalar.encode()
    if isinstance(scalar, dict) and scalar.keys() == {"b64"} and isinstance(scalar["b64"], str):
        try:
            return base64.b64decode(scalar["b64"], validate=True)
        except ValueError as error:
            raise ValueError(f"{_input(alias)} holds what is no base64: {error}.") from None
    raise ValueError(f'{_input(alias)} holds {_shown(scalar)}; send text, or bytes as {{"b64": "..."}}.')


def _example(features: Any) -> bytes:
    if not isinstance(features, dict):
        raise ValueError("An example must be an object of features.")
    example = EXAMPLE()
    for name, value in features.items():
        scalars: Sequence[Any] = value if isinstance(value, list) else [value]
        if any(isinstance(scalar, str | dict) for scalar in scalars):
            scalars = [_bytes(name, scalar) if isinstance(scalar, str | dict) else scalar for scalar in scalars]
        kinds = set(map(type, scalars))
        if kinds == {int, float}:
            kinds = {float}
        if len(kinds) > 1 or not kinds <= set(_FEATURE_LISTS):
            raise ValueError(f"Feature {name[:100]!r} must be numbers, or text, or bytes; all its values of one kind.")
        feature = example.features.feature[name]
        if kinds:
            getattr(feature, _FEATURE_LISTS[kinds.pop()]).value.extend(scalars)
    return example.SerializeToString()


def _input(alias: str) -> str:
    return f"Input {alias[:100]!r}" if alias else "The input"


def _listed(names: Iterable[str]) -> str:
    return f"{sorted(names)}"[:200]


def _shown(value: Any) -> str:
    # A list or a text may be as long as the body.
    return json.dumps(value[:40] if isinstance(value, str | list) else value)[:40]
