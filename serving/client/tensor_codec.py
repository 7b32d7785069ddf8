"""Converts NumPy arrays to TensorProtos and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.client import wire
from serving.client.errors import BadInput, UnexpectedAnswer

STRING = 7
"""DT_STRING: an array of dtype object that holds bytes."""

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
        tensor.string_val.extend(array.ravel())
    else:
        # The protocol's bytes are little-endian, as are those of every host that TensorFlow runs on.
        tensor.tensor_content = np.ascontiguousarray(array).tobytes()
    return tensor


def from_tensor(tensor: Any, name: str) -> np.ndarray:
    """Makes an array of a TensorProto.

    TF Serving answers with the typed fields by default, our server with tensor_content.

    Args:
      tensor: the TensorProto.
      name: the tensor's name in errors.

    Raises:
      UnexpectedAnswer: for an unknown dtype, or a number of values that does not fill the shape.
    """
    dtype = dtype_of(tensor.dtype)
    if dtype is None:
        raise UnexpectedAnswer(f"The server's answer has {name} of the unknown dtype {tensor.dtype}.")
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    count = int(np.prod(shape, dtype=np.int64))
    if tensor.tensor_content:
        array = np.frombuffer(tensor.tensor_content, dtype)
    else:
        values = getattr(tensor, _DTYPES[tensor.dtype][1])
        array = np.fromiter(values, dtype, len(values))
        # A tensor of equal values may come as one.
        if len(array) == 1 < count:
            array = np.repeat(array, count)
    if array.size != count:
        raise UnexpectedAnswer(f"The server's answer has {array.size} values of {name} for the shape {list(shape)}.")
    return array.reshape(shape)


def dtype_of(number: int) -> np.dtype[Any] | None:
    """Returns the dtype with tensorflow.DataType's number; None if no signature uses it."""
    return _DTYPES[number][0] if number in _DTYPES else None
