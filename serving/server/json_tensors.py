"""JSON bodies of TF Serving's REST API as request messages, and response messages as JSON."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import classification_pb2, get_model_metadata_pb2, input_pb2, predict_pb2

from serving.server import status_error, tensor_protos

_FEATURE_LISTS = {int: "int64_list", float: "float_list", bytes: "bytes_list"}


def parse(body: bytes) -> dict[str, Any]:
    """Parses a request's body, which must be a JSON object."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise status_error.invalid(f"The body is no JSON: {error}.") from error
    if not isinstance(request, dict):
        raise status_error.invalid(f"The body must be a JSON object, not a {type(request).__name__}.")
    return request


def fill_predict(
    body: Mapping[str, Any], inputs: Mapping[str, tensor_protos.TensorSpec], request: predict_pb2.PredictRequest
) -> bool:
    """Writes the tensors of the row format, `instances`, or the column format, `inputs`, into the request.

    Args:
      body: the request's JSON.
      inputs: what the signature takes.
      request: the message that gets the tensors.

    Returns:
      Whether the body has the row format.
    """
    rows = "instances" in body
    if rows == ("inputs" in body):
        raise status_error.invalid(
            "A predict request needs either 'instances', a list of rows, or 'inputs', by column."
        )
    columns = _columns_of_rows(body["instances"], inputs) if rows else _columns(body["inputs"], inputs)
    for alias, value in columns.items():
        array = _array(alias, value, inputs[alias]) if alias in inputs else np.zeros(0, np.float32)
        tensor_protos.to_proto(array, request.inputs[alias])
    return rows


def from_predict(response: predict_pb2.PredictResponse, *, rows: bool) -> str:
    """Formats the response by row or by column, as the request was."""
    columns = {alias: _values(alias, proto) for alias, proto in sorted(response.outputs.items())}
    if not rows:
        return json.dumps({"outputs": columns if len(columns) > 1 else next(iter(columns.values()))})
    if (
        any(not proto.tensor_shape.dim for proto in response.outputs.values())
        or len(set(map(len, columns.values()))) > 1
    ):
        raise status_error.invalid("The outputs do not have one row each: ask in the column format, with 'inputs'.")
    if len(columns) == 1:
        return json.dumps({"predictions": next(iter(columns.values()))})
    return json.dumps(
        {"predictions": [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]}
    )


def fill_examples(body: Mapping[str, Any], examples: input_pb2.Input) -> None:
    """Writes a classify request's `examples`, and the `context` that they share, into the message."""
    given = body.get("examples")
    if not isinstance(given, list) or not given:
        raise status_error.invalid("A classify request needs 'examples', a list with at least one object.")
    kind = examples.example_list
    if "context" in body:
        kind = examples.example_list_with_context
        _fill_example(body["context"], kind.context)
    for features in given:
        _fill_example(features, kind.examples.add())


def from_classifications(result: classification_pb2.ClassificationResult) -> str:
    """Formats the result as a list of [label, score] for each example."""
    rows = [[[chosen.label, chosen.score] for chosen in row.classes] for row in result.classifications]
    return json.dumps({"results": rows})


def from_metadata(response: get_model_metadata_pb2.GetModelMetadataResponse) -> str:
    """Formats the model's name, version and signatures."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    spec = response.model_spec
    return json.dumps(
        {
            "model_spec": {"name": spec.name, "signature_name": "", "version": str(spec.version.value)},
            "metadata": {
                "signature_def": json_format.MessageToDict(signatures, preserving_proto_field_name=True),
            },
        },
        indent=1,
    )


def _columns_of_rows(instances: Any, inputs: Mapping[str, tensor_protos.TensorSpec]) -> dict[str, Any]:
    if not isinstance(instances, list) or not instances:
        raise status_error.invalid("'instances' must be a list with at least one row.")
    if not all(isinstance(row, dict) and set(row) != {"b64"} for row in instances):
        return {_only(inputs): instances}
    for row in instances:
        if set(row) != set(inputs):
            raise status_error.invalid(
                f"A row of 'instances' names {sorted(row)}; the signature takes {sorted(inputs)}."
            )
    return {alias: [row[alias] for row in instances] for alias in inputs}


def _columns(values: Any, inputs: Mapping[str, tensor_protos.TensorSpec]) -> dict[str, Any]:
    if isinstance(values, dict) and set(values) != {"b64"}:
        return values
    return {_only(inputs): values}


def _only(inputs: Mapping[str, tensor_protos.TensorSpec]) -> str:
    if len(inputs) != 1:
        raise status_error.invalid(f"The signature takes {sorted(inputs)}, so every value must be named.")
    return next(iter(inputs))


def _array(alias: str, value: Any, spec: tensor_protos.TensorSpec) -> np.ndarray:
    """Makes nested lists an array of the signature's dtype, and refuses what does not fit it exactly."""
    shape: list[int] = []
    innermost = value
    while isinstance(innermost, list):
        shape.append(len(innermost))
        if not innermost or len(shape) > 32:
            break
        innermost = innermost[0]
    scalars: list[Any] = []
    _collect(alias, value, shape, scalars)
    if spec.dtype == tf.string:
        array = np.empty(len(scalars), object)
        array[:] = [_bytes(alias, scalar) for scalar in scalars]
        return array.reshape(shape)
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    kinds = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}.get(dtype.kind, ())
    for scalar in scalars:
        # A bool is an int to Python.
        if not isinstance(scalar, kinds) or isinstance(scalar, bool) != (dtype.kind == "b"):
            raise status_error.invalid(
                f"Input {alias!r} holds {json.dumps(scalar)[:40]}, which is no {spec.dtype.name}."
            )
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        if any(not bounds.min <= scalar <= bounds.max for scalar in scalars):
            raise status_error.invalid(f"Input {alias!r} holds a number that is no {spec.dtype.name}.")
    try:
        return np.array(scalars, dtype).reshape(shape)
    except OverflowError as error:
        raise status_error.invalid(f"Input {alias!r} holds a number that is no {spec.dtype.name}: {error}.") from error


def _collect(alias: str, value: Any, shape: list[int], scalars: list[Any]) -> None:
    """Appends the scalars in order; every list must be as long as the first at its depth."""
    if not shape:
        if isinstance(value, list):
            raise status_error.invalid(f"Input {alias!r} is ragged: its lists do not have the same depth.")
        scalars.append(value)
        return
    if not isinstance(value, list) or len(value) != shape[0]:
        raise status_error.invalid(f"Input {alias!r} is ragged: its lists do not have the same length.")
    for item in value:
        _collect(alias, item, shape[1:], scalars)


def _bytes(alias: str, scalar: Any) -> bytes:
    if isinstance(scalar, str):
        return scalar.encode()
    if isinstance(scalar, dict) and set(scalar) == {"b64"} and isinstance(scalar["b64"], str):
        try:
            return base64.b64decode(scalar["b64"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise status_error.invalid(f"Input {alias!r} holds what is no base64: {error}.") from error
    raise status_error.invalid(
        f'Input {alias!r} holds {json.dumps(scalar)[:40]}; send text, or bytes as {{"b64": "..."}}.'
    )


def _values(alias: str, proto: tensor_pb2.TensorProto) -> Any:
    """Makes a tensor nested lists, with bytes in base64 where the output's name asks for it or they are no text."""
    array = tf.make_ndarray(proto)
    if proto.dtype != tf.string.as_datatype_enum:
        return array.tolist()
    shown = np.empty(array.size, object)
    shown[:] = [_text(alias, item) for item in array.ravel()]
    return shown.reshape(array.shape).tolist()


def _text(alias: str, item: bytes) -> str | dict[str, str]:
    if not alias.endswith("_bytes"):
        try:
            return item.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(item).decode()}


def _fill_example(features: Any, example: tf.train.Example) -> None:
    if not isinstance(features, dict):
        raise status_error.invalid("An example must be an object of features.")
    for name, value in features.items():
        scalars = value if isinstance(value, list) else [value]
        values = [_bytes(name, scalar) if isinstance(scalar, str | dict) else scalar for scalar in scalars]
        kinds = {type(scalar) for scalar in values}
        if kinds == {int, float}:
            values, kinds = [float(scalar) for scalar in values], {float}
        if len(kinds) > 1 or not kinds <= set(_FEATURE_LISTS):
            raise status_error.invalid(
                f"Feature {name!r} must be numbers, or text, or bytes; all its values of one kind."
            )
        feature = example.features.feature[name]
        if kinds:
            try:
                getattr(feature, _FEATURE_LISTS[kinds.pop()]).value.extend(values)
            except ValueError as error:
                raise status_error.invalid(f"Feature {name!r}: {error}.") from error
