"""TensorFlow's operations as ONNX's: those that the model's equations are made of.

Whole numbers are int64 in ONNX, as its shapes and places are, where TensorFlow has int32 too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import onnx
import tensorflow as tf

ELEMENT_TYPES = {
    tf.float32: onnx.TensorProto.FLOAT,
    tf.int32: onnx.TensorProto.INT64,
    tf.int64: onnx.TensorProto.INT64,
    tf.bool: onnx.TensorProto.BOOL,
}


class Emitter(Protocol):
    """Adds nodes to a graph; values go by their names."""

    def node(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Adds a node, and returns the names of its outputs."""

    def constant(self, value: np.ndarray) -> str:
        """Returns the name of a constant."""

    def value(self, tensor: tf.Tensor) -> str:
        """Returns the name of a tensor's value, which it adds if need be."""


class Unsupported(ValueError):
    """An operation that the table lacks."""


def convert(op: tf.Operation, emit: Emitter) -> list[str]:
    """Adds an operation, and returns the names of its outputs. Raises Unsupported."""
    if op.type in _SAME:
        return emit.node(_SAME[op.type], [emit.value(tensor) for tensor in op.inputs])
    if op.type not in _CONVERTERS:
        raise Unsupported(f"TensorFlow's operation {op.type} ({op.name}) has no counterpart in the ONNX export.")
    return _CONVERTERS[op.type](op, emit)


def static(tensor: tf.Tensor) -> np.ndarray | None:
    """Returns what a tensor always is; None for one that depends on an input."""
    value = tf.get_static_value(tensor)
    if value is None:
        return None
    value = np.asarray(value)
    return value.astype(np.int64) if value.dtype == np.int32 else value


_SAME = {
    "Abs": "Abs",
    "AddV2": "Add",
    "Exp": "Exp",
    "GreaterEqual": "GreaterOrEqual",
    "Identity": "Identity",
    "Log": "Log",
    "Mul": "Mul",
    "Neg": "Neg",
    "RealDiv": "Div",
    "Reshape": "Reshape",
    "Select": "Where",
    "SelectV2": "Where",
    "Shape": "Shape",
    "Sigmoid": "Sigmoid",
    "Softmax": "Softmax",
    "StopGradient": "Identity",
    "Sub": "Sub",
    "Tanh": "Tanh",
    "Tile": "Tile",
}
"""Operations that differ in their names alone; both Softmaxes are over the last axis."""


def _arg_max(op: tf.Operation, emit: Emitter) -> list[str]:
    return emit.node("ArgMax", [emit.value(op.inputs[0])], axis=int(_number(op.inputs[1])), keepdims=0)


def _cast(op: tf.Operation, emit: Emitter) -> list[str]:
    return emit.node("Cast", [emit.value(op.inputs[0])], to=ELEMENT_TYPES[op.outputs[0].dtype])


def _concat(op: tf.Operation, emit: Emitter) -> list[str]:
    *parts, axis = op.inputs
    return emit.node("Concat", [emit.value(part) for part in parts], axis=int(_number(axis)))


def _expand_dims(op: tf.Operation, emit: Emitter) -> list[str]:
    return emit.node("Unsqueeze", [emit.value(op.inputs[0]), emit.constant(_number(op.inputs[1]).reshape(-1))])


def _log1p(op: tf.Operation, emit: Emitter) -> list[str]:
    (x,) = op.inputs
    if x.op.type == "Exp":
        # As the cross-entropy has it: exact where adding 1 would lose the exponential.
        return emit.node("Softplus", [emit.value(x.op.inputs[0])])
    return emit.node("Log", emit.node("Add", [emit.value(x), emit.constant(np.array(1, np.float32))]))


def _mat_mul(op: tf.Operation, emit: Emitter) -> list[str]:
    factors = []
    for tensor, flag in zip(op.inputs, _TRANSPOSED[op.type], strict=True):
        name = emit.value(tensor)
        if op.get_attr(flag):
            rank = tensor.shape.rank
            (name,) = emit.node("Transpose", [name], perm=[*range(rank - 2), rank - 1, rank - 2])
        factors.append(name)
    return emit.node("MatMul", factors)


def _pack(op: tf.Operation, emit: Emitter) -> list[str]:
    axis = emit.constant(np.array([op.get_attr("axis")], np.int64))
    parts = [emit.node("Unsqueeze", [emit.value(tensor), axis])[0] for tensor in op.inputs]
    return emit.node("Concat", parts, axis=op.get_attr("axis"))


def _split(op: tf.Operation, emit: Emitter) -> list[str]:
    axis, tensor = op.inputs
    parts = len(op.outputs)
    place = int(_number(axis))
    sizes = emit.constant(np.full(parts, tensor.shape[place] // parts, np.int64))
    return emit.node("Split", [emit.value(tensor), sizes], parts, axis=place)


def _square(op: tf.Operation, emit: Emitter) -> list[str]:
    name = emit.value(op.inputs[0])
    return emit.node("Mul", [name, name])


def _strided_slice(op: tf.Operation, emit: Emitter) -> list[str]:
    """Slices of unit steps, single places and new axes, one axis after the other."""
    tensor, begin, end, strides = op.inputs
    masks = {name: op.get_attr(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    specs = strides.shape[0]
    kept = [place for place in range(specs) if not (masks["new_axis"] | masks["ellipsis"]) >> place & 1]
    if (np.abs(_number(strides)) != 1).any() or (_number(strides)[kept] < 0).any():
        raise Unsupported(f"The slice {op.name} has steps other than 1.")
    name, axis = emit.value(tensor), 0
    for place in range(specs):

        def has(mask: str, place: int = place) -> bool:
            return bool(masks[mask] >> place & 1)

        if has("ellipsis"):
            axis += tensor.shape.rank - len(kept)
            continue
        if has("new_axis"):
            (name,) = emit.node("Unsqueeze", [name, emit.constant(np.array([axis], np.int64))])
        elif has("shrink_axis"):
            (name,) = emit.node("Gather", [name, _element(begin, place, emit)], axis=axis)
            continue
        elif not (has("begin") and has("end")):
            first = 0 if has("begin") else _number(begin)[place]
            last = np.iinfo(np.int64).max if has("end") else _number(end)[place]
            bounds = [emit.constant(np.array([value], np.int64)) for value in (first, last, axis)]
            (name,) = emit.node("Slice", [name, *bounds])
        axis += 1
    return [name]


def _sum(op: tf.Operation, emit: Emitter) -> list[str]:
    tensor, axes = op.inputs
    return emit.node(
        "ReduceSum",
        [emit.value(tensor), emit.constant(_number(axes).reshape(-1))],
        keepdims=int(op.get_attr("keep_dims")),
    )


def _transpose(op: tf.Operation, emit: Emitter) -> list[str]:
    return emit.node("Transpose", [emit.value(op.inputs[0])], perm=_number(op.inputs[1]).tolist())


def _unpack(op: tf.Operation, emit: Emitter) -> list[str]:
    axis = op.get_attr("axis")
    name = emit.value(op.inputs[0])
    places = [emit.constant(np.array(place, np.int64)) for place in range(len(op.outputs))]
    return [emit.node("Gather", [name, place], axis=axis)[0] for place in places]


def _zeros_like(op: tf.Operation, emit: Emitter) -> list[str]:
    return emit.node("Sub", [emit.value(op.inputs[0])] * 2)


_TRANSPOSED = {
    "BatchMatMulV2": ("adj_x", "adj_y"),
    "MatMul": ("transpose_a", "transpose_b"),
}

_CONVERTERS: dict[str, Callable[[tf.Operation, Emitter], list[str]]] = {
    "ArgMax": _arg_max,
    "BatchMatMulV2": _mat_mul,
    "Cast": _cast,
    "ConcatV2": _concat,
    "ExpandDims": _expand_dims,
    "Log1p": _log1p,
    "MatMul": _mat_mul,
    "Pack": _pack,
    "Split": _split,
    "Square": _square,
    "StridedSlice": _strided_slice,
    "Sum": _sum,
    "Transpose": _transpose,
    "Unpack": _unpack,
    "ZerosLike": _zeros_like,
}


def _number(tensor: tf.Tensor) -> np.ndarray:
    value = static(tensor)
    if value is None:
        raise Unsupported(f"{tensor.name} depends on an input, and must be known to export the graph.")
    return value


def _element(tensor: tf.Tensor, place: int, emit: Emitter) -> str:
    """One number of a vector, which may be packed of values that are not known."""
    value = static(tensor)
    if value is not None:
        return emit.constant(np.array(value[place], np.int64))
    if tensor.op.type != "Pack":
        raise Unsupported(f"{tensor.name} must be a list of numbers to export the graph.")
    return emit.value(tensor.op.inputs[place])
