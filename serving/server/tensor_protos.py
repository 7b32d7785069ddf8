"""Converts what callers send to arrays that fit a signature, before TensorFlow sees a byte, and arrays to answers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

from serving.server import status_error

_VALUE_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int8: "int_val",
    tf.int16: "int_val",
    tf.int32: "int_val",
    tf.uint8: "int_val",
    tf.uint16: "int_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
}
"""The dtypes that may cross the wire besides strings, and the field of each where a tensor is sent value by value."""

_FIELD_DTYPES = {
    "float_val": "f4",
    "double_val": "f8",
    "int_val": "i4",
    "int64_val": "i8",
    "uint32_val": "u4",
    "uint64_val": "u8",
    "bool_val": "?",
}
_BLOCK = 65_536
_PIECE_VALUES = 2**17
"""Of an output, copied at a time: a megabyte at most."""
_MAP_KEY, _MAP_VALUE = 1, 2
"""Numbers of the fields of each entry of a map."""

_FITTING_KINDS = {"O": "O", "b": "b", "i": "iu", "u": "iu", "f": "iuf"}
"""Kinds of JSON's values that a kind of dtype takes."""


class TensorSpec(NamedTuple):
    """The dtype and shape of one input or output; a plain tuple, because every request reads it."""

    dtype: tf.DType
    shape: tuple[int | None, ...] | None
    """None for a dimension that may have any size, or for any shape at all."""

    @property
    def has_rows(self) -> bool:
        """Whether the first dimension may have any size."""
        return bool(self.shape) and self.shape[0] is None  # type: ignore[index]

    def bytes_of(self, rows: int) -> int:
        """Returns the bytes of a tensor of so many rows; 0 where its shape does not tell, or it holds strings."""
        dims = (rows, *self.shape[1:]) if self.shape and self.has_rows else self.shape
        return math.prod(dims) * self.dtype.size if dims is not None and None not in dims else 0  # type: ignore[arg-type]

    def __str__(self) -> str:
        """Returns the form that messages show: `int64 [?, 2]`."""
        if self.shape is None:
            return f"{self.dtype.name} of any shape"
        return f"{self.dtype.name} [{', '.join('?' if size is None else str(size) for size in self.shape)}]"


def to_array(alias: str, proto: tensor_pb2.TensorProto, spec: TensorSpec, *, max_rows: int) -> np.ndarray:
    """Converts a tensor to an array, which shares the message's memory where that is possible.

    Args:
      alias: the input's name in the signature, for messages.
      proto: the tensor that was sent.
      spec: what the signature takes.
      max_rows: the greatest first dimension, where the signature leaves it open.

    Raises:
      StatusError: INVALID_ARGUMENT where dtype, rank, shape or the number of values is not what the signature takes.
    """
    if proto.dtype != spec.dtype.as_datatype_enum:
        raise status_error.invalid(
            f"Input {alias!r} is {_dtype_name(proto.dtype)}; the signature takes {spec.dtype.name}."
        )
    if proto.tensor_shape.unknown_rank:
        raise status_error.invalid(f"Input {alias!r} has no shape; the signature takes {spec}.")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    check_shape(alias, shape, spec, max_rows=max_rows)
    size = math.prod(shape)
    if spec.dtype == tf.string:
        return _strings(alias, proto.string_val, shape, size)
    if spec.dtype not in _VALUE_FIELDS:
        raise status_error.StatusError(
            grpc.StatusCode.UNIMPLEMENTED, f"Input {alias!r}: this server takes no {spec.dtype.name} tensors."
        )
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    if proto.tensor_content:
        if len(proto.tensor_content) != size * dtype.itemsize:
            raise status_error.invalid(
                f"Input {alias!r} holds {len(proto.tensor_content)} bytes; shape {list(shape)} of {dtype} has "
                f"{size * dtype.itemsize}."
            )
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    field = _VALUE_FIELDS[spec.dtype]
    return _values(alias, getattr(proto, field), np.dtype(_FIELD_DTYPES[field]), dtype, shape, size)


def fit(alias: str, array: np.ndarray, spec: TensorSpec, *, max_rows: int) -> np.ndarray:
    """Makes an array of JSON's values, which are bytes, bools, int64, uint64 or float64, one of the signature's dtype.

    Raises:
      StatusError: INVALID_ARGUMENT where its values or its shape do not fit.
    """
    check_shape(alias, array.shape, spec, max_rows=max_rows)
    dtype = np.dtype(object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype)
    if array.size and array.dtype.kind not in _FITTING_KINDS.get(dtype.kind, ""):
        shown = array.flat[0]
        shown = shown[:40].decode("utf-8", "replace") if isinstance(shown, bytes) else shown.item()
        raise status_error.invalid(f"Input {alias!r} holds {json.dumps(shown)}, which is no {spec.dtype.name}.")
    return _cast(alias, array, dtype)


def serialize_response(response: predict_pb2.PredictResponse, outputs: Mapping[str, np.ndarray]) -> bytes:
    """Serializes a response, and with it these outputs, as protobuf would if they were in it.

    Not by protobuf, which would copy each output three times, and hold Python's lock for each: 20 ms for 60 MB. A join
    of many bytes lets others have the lock.
    """
    pieces = [response.SerializeToString()]
    for alias, array in outputs.items():
        entry = _field(_MAP_KEY, [alias.encode()]) + _field(_MAP_VALUE, _tensor(array))
        pieces += _field(predict_pb2.PredictResponse.OUTPUTS_FIELD_NUMBER, entry)
    return b"".join(pieces)


def _tensor(array: np.ndarray) -> list[bytes]:
    """Serializes an array as a TensorProto: strings one by one, all else as one block of memory."""
    dtype = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    if dtype == tf.string:
        proto.string_val.extend(array.ravel().tolist())
        return [proto.SerializeToString()]
    flat = array.reshape(-1)
    content = [flat[start : start + _PIECE_VALUES].tobytes() for start in range(0, flat.size, _PIECE_VALUES)]
    return [proto.SerializeToString(), *_field(tensor_pb2.TensorProto.TENSOR_CONTENT_FIELD_NUMBER, content)]


def _field(number: int, content: list[bytes]) -> list[bytes]:
    """Puts the key of a field that has a length, and the length, before its content."""
    head, length = bytearray([number << 3 | 2]), sum(map(len, content))
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return [bytes(head), *content]


def count_bytes(array: np.ndarray) -> int:
    """Counts the bytes of an array's values."""
    return sum(map(len, array.flat)) if array.dtype == object else array.nbytes


def check_shape(alias: str, shape: Sequence[int], spec: TensorSpec, *, max_rows: int) -> None:
    """Raises StatusError with INVALID_ARGUMENT where an input of that shape is not what the signature takes."""
    fits = min(shape, default=0) >= 0
    if spec.shape is not None:
        fits = fits and len(spec.shape) == len(shape)
        fits = fits and all(size in (None, given) for size, given in zip(spec.shape, shape, strict=True))
    if not fits:
        raise status_error.invalid(f"Input {alias!r} has shape {list(shape)}; the signature takes {spec}.")
    if spec.has_rows:
        if shape[0] == 0:
            raise status_error.invalid(f"Input {alias!r} is empty, it has shape {list(shape)}: send at least one row.")
        if shape[0] > max_rows:
            raise status_error.invalid(
                f"Input {alias!r} has {shape[0]} rows; this server takes at most {max_rows} a request. "
                "Split it: rows do not depend on each other."
            )


def _strings(alias: str, values: Sequence[bytes], shape: tuple[int, ...], size: int) -> np.ndarray:
    if len(values) != size:
        raise status_error.invalid(f"Input {alias!r} holds {len(values)} strings; its shape {list(shape)} has {size}.")
    array = np.empty(size, object)
    array[:] = list(values)
    return array.reshape(shape)


def _values(
    alias: str, values: Sequence[float], sent: np.dtype, dtype: np.dtype, shape: tuple[int, ...], size: int
) -> np.ndarray:
    if len(values) > size or (size and not len(values)):
        raise status_error.invalid(f"Input {alias!r} holds {len(values)} values; its shape {list(shape)} has {size}.")
    # In blocks, because NumPy holds Python's lock while it reads one.
    blocks = [np.array(values[start : start + _BLOCK], sent) for start in range(0, len(values), _BLOCK)]
    given = _cast(alias, np.concatenate([np.empty(0, sent), *blocks]), dtype)
    # TensorFlow leaves out the values at the end that repeat the last one sent.
    return np.pad(given, (0, size - len(given)), mode="edge" if size else "constant").reshape(shape)


def _cast(alias: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Changes the dtype; integers must be such that it has."""
    if dtype.kind in "iu" and array.size:
        bounds = np.iinfo(dtype)
        if int(array.min()) < bounds.min or int(array.max()) > bounds.max:
            raise status_error.invalid(f"Input {alias!r} holds a number that is no {dtype}.")
    # A float that is too large becomes infinite, which the model's own checks refuse.
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)


def _dtype_name(number: int) -> str:
    try:
        return str(tf.as_dtype(number).name)
    except TypeError:
        return "of no dtype" if number == 0 else f"of the unknown dtype {number}"
