"""Converts NumPy arrays to TensorProtos and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.client import wire
from serving.client.channel import MAX_MESSAGE_BYTES
from serving.client.errors import BadInput, UnexpectedAnswer

STRING = 7
"""DT_STRING: an array of dtype object that holds bytes."""

MOST_DIMENSIONS = 32
"""As many as an array of any NumPy may have."""

# By tensorflow.DataType: the dtype, and the field of its values if they are not in tensor_content.
_DTYPES: dict[int, tuple[np.dtype[Any], str]] = {
    1: (np.dtype(np.float32), "float_val"),
    2: (np.dtype(np.float64), "double_val"),
    3: (np.dtype(np.int32), "int_val"),
    4: (np.dtype(np.uint8), "int_val"),
    5: (np.dtype(np.int16), "int_val"),
    6: (np.dtype(np.int8), "int_val"),
    STRING: (np.dtype(object), "string_val"),
    9: (np.dtype(np.int64), "int64_val"),
    10: (np.dtype(np.bool_), "bool_val"),
}
_NUMBERS = {dtype: number for number, (dtype, _) in _DTYPES.items()}


def to_tensor(array: np.ndarray) -> Any:
    """Makes a TensorProto of an array; one of dtype object holds bytes.

    Raises BadInput for a dtype that no signature takes.
    """
    if array.dtype not in _NUMBERS:
        known = ", ".join(str(dtype) for dtype in _NUMBERS)
        raise BadInput(f"Arrays of {array.dtype} cannot be sent; expected one of {known}.")
    tensor = wire.TensorProto(dtype=_NUMBERS[array.dtype])
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype == object:
        try:
            tensor.string_val.extend(array.ravel())
        except TypeError as error:
            raise BadInput(f"Arrays of objects are sent as strings, and must hold bytes alone: {error}.") from error
    else:
        # The protocol's bytes are little-endian, as are those of every host that TensorFlow runs on.
        tensor.tensor_content = np.ascontiguousarray(array).tobytes()
    return tensor


def from_tensor(tensor: Any, name: str, *, max_bytes: int = MAX_MESSAGE_BYTES) -> np.ndarray:
    """Makes an array of a TensorProto.

    TF Serving answers with the typed fields by default, our server with tensor_content.

    Args:
      tensor: the TensorProto.
      name: the tensor's name in errors.
      max_bytes: of the array, for a few bytes may stand for many equal values.

    Raises:
      UnexpectedAnswer: for an unknown dtype, a shape that no array has, one beyond the limit, or a number of values
        that does not fill it.
    """
    dtype, shape = dtype_of(tensor.dtype), shape_of(tensor)
    if dtype is None:
        raise UnexpectedAnswer(f"The server's answer has {name} of the unknown dtype {tensor.dtype}.")
    if len(shape) > MOST_DIMENSIONS or min(shape, default=0) < 0:
        raise UnexpectedAnswer(f"The server's answer has {name} of the impossible shape {text_of_shape(shape)}.")
    count = math.prod(shape)
    if count * dtype.itemsize > max_bytes:
        raise UnexpectedAnswer(
            f"The server's answer has {name} of the shape {text_of_shape(shape)}, "
            f"{count * dtype.itemsize:,} bytes; expected no more than {max_bytes:,}."
        )
    if tensor.tensor_content and tensor.dtype != STRING:
        size, rest = divmod(len(tensor.tensor_content), dtype.itemsize)
        array = np.frombuffer(tensor.tensor_content, dtype, size)
        filled = size == count and not rest
    else:
        array = _typed_values(tensor, dtype, name)
        if len(array) == 1 < count:  # a tensor of equal values may come as one
            array = np.full(count, array[0], dtype)
        size = len(array)
        filled = size == count
    if not filled:
        raise UnexpectedAnswer(
            f"The server's answer has {size:,} values of {name} for the shape {text_of_shape(shape)}."
        )
    return array.reshape(shape)


def _typed_values(tensor: Any, dtype: np.dtype[Any], name: str) -> np.ndarray:
    """Makes an array [values] of the field for the dtype. Raises UnexpectedAnswer for values that the dtype lacks."""
    field = _DTYPES[tensor.dtype][1]
    values = getattr(tensor, field)
    array = np.fromiter(values, np.dtype(np.int32) if field == "int_val" else dtype, len(values))
    if field == "int_val" and len(array):
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise UnexpectedAnswer(f"The server's answer has values of {name} that are no {dtype}.")
    return array.astype(dtype, copy=False)


def shape_of(tensor: Any) -> tuple[int, ...]:
    """Returns the shape that a TensorProto claims."""
    return tuple(dim.size for dim in tensor.tensor_shape.dim)


def text_of_shape(shape: Sequence[int | None]) -> str:
    """Writes a shape for a message, with n for any size, cut where it is too long."""
    sizes = ["n" if size is None else str(size) for size in shape[: MOST_DIMENSIONS + 1]]
    return f"[{', '.join(sizes)}{', ...' if len(shape) > len(sizes) else ''}]"


def dtype_of(number: int) -> np.dtype[Any] | None:
    """Returns the dtype with tensorflow.DataType's number; None if no signature uses it."""
    return _DTYPES[number][0] if number in _DTYPES else None
