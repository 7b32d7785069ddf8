"""config.pbtxt of a model in Triton's repository, after the inputs and outputs of its ONNX file."""

from __future__ import annotations

import onnx

_TYPES = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.INT64: "TYPE_INT64"}
_LARGEST_BATCH = 64
_QUEUE_MICROSECONDS = 1000
"""How long Triton waits for more rows to compute together."""


def text(model: onnx.ModelProto, name: str) -> str:
    """Returns the configuration as protobuf's text."""
    return "\n".join(
        [
            f'name: "{name}"',
            'backend: "onnxruntime"',
            f"max_batch_size: {_LARGEST_BATCH}",
            *(_tensor("input", value) for value in model.graph.input),
            *(_tensor("output", value) for value in model.graph.output),
            f"dynamic_batching {{ max_queue_delay_microseconds: {_QUEUE_MICROSECONDS} }}",
            "",
        ]
    )


def _tensor(kind: str, value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    # Without the rows, which Triton adds.
    sizes = [dimension.dim_value for dimension in tensor.shape.dim][1:]
    # A number a row is a vector of one to Triton, and none to ONNX.
    dims = "dims: [ 1 ] reshape { shape: [ ] }" if not sizes else f"dims: [ {', '.join(map(str, sizes))} ]"
    return f'{kind} [ {{ name: "{value.name}" data_type: {_TYPES[tensor.elem_type]} {dims} }} ]'
