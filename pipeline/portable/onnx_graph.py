"""A signature as an ONNX graph, made of the very functions that the SavedModel is traced from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import tensorflow as tf
from onnx import helper, numpy_helper

from pipeline.portable import onnx_ops
from trainer.export import exporter
from trainer.task import Task
from trainer.training import recurrence

OPSET = 17
"""That of ONNX 1.12: ONNX Runtime 1.12 and later read it."""
_IR_VERSION = 8
"""That of the same release: the tools that read the opset read it."""
_BATCH = "n"


def build(
    task: Task,
    weights: Mapping[str, np.ndarray],
    signature: str,
    *,
    descriptions: Mapping[str, str],
    properties: Mapping[str, str],
) -> onnx.ModelProto:
    """Builds the model of one signature, for any number of rows.

    Args:
      task: the resolved task.
      weights: all that is learned, by the names of the model.
      signature: one whose inputs are numbers.
      descriptions: what each input and output is, by its name.
      properties: the model's metadata.

    Raises:
      onnx_ops.Unsupported: for an operation that has no counterpart.
    """
    recorder = _Recorder()
    with tf.Graph().as_default():
        held = {name: _placeholder(tf.float32, value.shape) for name, value in weights.items()}
        module = exporter.SIGNATURES[type(task)](task, held, scan=recorder.scan)
        specs = module.inputs(task)[signature]
        inputs = [_placeholder(spec.dtype, spec.shape) for spec in specs]
        outputs = module.compute(signature, *inputs)
    writer = Writer(recorder.loops, {placeholder.ref(): (name, weights[name]) for name, placeholder in held.items()})
    writer.names = {placeholder.ref(): spec.name for spec, placeholder in zip(specs, inputs, strict=True)}
    named = {spec.name: placeholder for spec, placeholder in zip(specs, inputs, strict=True)}
    model = helper.make_model(
        graph(f"{task.name}_{signature}", writer, named, outputs, descriptions),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="draw-tfx",
        doc_string=properties.get("title", ""),
    )
    helper.set_model_props(model, dict(properties))
    onnx.checker.check_model(model, full_check=True)
    return model


def graph(
    name: str,
    writer: Writer,
    inputs: Mapping[str, tf.Tensor],
    outputs: Mapping[str, tf.Tensor],
    descriptions: Mapping[str, str] | None = None,
) -> onnx.GraphProto:
    """Returns the graph of what the outputs need, whose names they get."""
    for alias, tensor in outputs.items():
        writer.add("Identity", [writer.value(tensor)], [alias])
    values = ([_info(alias, tensor, descriptions) for alias, tensor in part.items()] for part in (inputs, outputs))
    return helper.make_graph(writer.nodes, name, *values, writer.initializers())


class _Loop(NamedTuple):
    """A recurrence: `inside` its step's own inputs, t and the state; `results` what the graph after it goes on with."""

    steps: int
    start: Sequence[tf.Tensor]
    inside: Sequence[tf.Tensor]
    after: Sequence[tf.Tensor]
    """The state after a step, and then the outputs that are stacked."""
    results: Sequence[tf.Tensor]


class _Recorder:
    """Takes the place of `recurrence.scan`: keeps a recurrence as it is, where TensorFlow would make a loop of it."""

    def __init__(self) -> None:
        self.loops: list[_Loop] = []

    def scan(
        self,
        step: recurrence.Step[Any],
        weights: recurrence.Weights,
        state: Any,
        steps: int,
        shapes: Mapping[str, list[int]],
    ) -> tuple[Any, recurrence.Outputs]:
        """Builds one step, and returns placeholders for what T of them give."""
        t = _placeholder(tf.int32, [])
        inner = [_placeholder(value.dtype, value.shape) for value in state]
        following, outputs = step(recurrence.linear(weights), t, type(state)(*inner))
        last = [_placeholder(value.dtype, value.shape) for value in state]
        stacked = {name: _placeholder(outputs[name].dtype, [steps, None, *shape]) for name, shape in shapes.items()}
        self.loops.append(
            _Loop(
                steps,
                list(state),
                [t, *inner],
                [*following, *(outputs[name] for name in shapes)],
                [*last, *stacked.values()],
            )
        )
        return type(state)(*last), stacked


class Writer:
    """Adds what a value needs, and no more. What a step computes of its own inputs goes into its loop's body.

    What else the step uses is computed once, before the loop.
    """

    def __init__(
        self,
        loops: Sequence[_Loop] = (),
        weights: Mapping[Any, tuple[str, np.ndarray]] | None = None,
        outer: Writer | None = None,
    ) -> None:
        """`weights` are names and values by their placeholders; `outer` writes the graph around a loop's body."""
        self.nodes: list[onnx.NodeProto] = []
        self.names: dict[Any, str] = {}
        self._outer = outer
        self._inside: set[Any] = set()
        self._depends: dict[Any, bool] = {}
        self._loops = {result.ref(): loop for loop in loops for result in loop.results}
        self._weights = weights or {}
        self._initializers: dict[Any, onnx.TensorProto] = {} if outer is None else outer._initializers
        self._count: Iterator[int] = outer._count if outer else itertools.count()

    def initializers(self) -> list[onnx.TensorProto]:
        """Returns the weights and constants that were asked for."""
        return list(self._initializers.values())

    def add(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Adds a node whose outputs have names already."""
        self.nodes.append(helper.make_node(kind, list(inputs), list(outputs), **attributes))

    def node(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Adds a node, and returns the names of its outputs."""
        names = [f"{kind}_{next(self._count)}" for _ in range(outputs)]
        self.add(kind, inputs, names, **attributes)
        return names

    def constant(self, value: np.ndarray) -> str:
        """Returns the name of a constant, which the whole model has once."""
        value = np.asarray(value)
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._initializers:
            self._initializers[key] = numpy_helper.from_array(value, f"constant_{next(self._count)}")
        return str(self._initializers[key].name)

    def value(self, tensor: tf.Tensor) -> str:
        """Returns the name of a tensor's value, which is added where it must be computed."""
        if self._outer is not None and not self._depends_on_the_step(tensor):
            return self._outer.value(tensor)
        key = tensor.ref()
        if key not in self.names:
            known = onnx_ops.static(tensor)
            if known is not None:
                return self.constant(known)
            if key in self._weights:
                name, weight = self._weights[key]
                self._initializers[key] = numpy_helper.from_array(np.asarray(weight, np.float32), name)
                self.names[key] = name
            elif key in self._loops:
                self._loop(self._loops[key])
            else:
                for output, name in zip(tensor.op.outputs, onnx_ops.convert(tensor.op, self), strict=True):
                    self.names[output.ref()] = name
        return self.names[key]

    def _loop(self, loop: _Loop) -> None:
        body = Writer(outer=self)
        body._inside = {tensor.ref() for tensor in loop.inside}
        state = len(loop.start)
        names = [f"{kind}_{next(self._count)}" for kind in ("t", *["state"] * state)]
        body.names = {tensor.ref(): name for tensor, name in zip(loop.inside, names, strict=True)}
        go_on = f"go_on_{next(self._count)}"
        (still,) = body.node("Identity", [go_on])
        # A loop's outputs must be its body's own, whatever else they are.
        after = [body.node("Identity", [body.value(tensor)])[0] for tensor in loop.after]
        inputs = [_info(names[0], loop.inside[0]), helper.make_tensor_value_info(go_on, onnx.TensorProto.BOOL, [])]
        graph = helper.make_graph(
            body.nodes,
            "step",
            [*inputs, *(_info(name, tensor) for name, tensor in zip(names[1:], loop.inside[1:], strict=True))],
            [
                helper.make_tensor_value_info(still, onnx.TensorProto.BOOL, []),
                *(_info(name, tensor) for name, tensor in zip(after, loop.after, strict=True)),
            ],
        )
        start = [self.value(tensor) for tensor in loop.start]
        steps = self.constant(np.array(loop.steps, np.int64))
        results = self.node("Loop", [steps, "", *start], len(loop.results), body=graph)
        self.names |= {tensor.ref(): name for tensor, name in zip(loop.results, results, strict=True)}

    def _depends_on_the_step(self, tensor: tf.Tensor) -> bool:
        key = tensor.ref()
        if key not in self._depends:
            self._depends[key] = key in self._inside or any(
                self._depends_on_the_step(tensor) for tensor in tensor.op.inputs
            )
        return self._depends[key]


def _placeholder(dtype: tf.DType, shape: Any) -> tf.Tensor:
    return tf.compat.v1.placeholder(dtype, shape)


def _info(name: str, tensor: tf.Tensor, descriptions: Mapping[str, str] | None = None) -> onnx.ValueInfoProto:
    shape = [_BATCH if size is None else size for size in tensor.shape]
    return helper.make_tensor_value_info(
        name, onnx_ops.ELEMENT_TYPES[tensor.dtype], shape, (descriptions or {}).get(name, "")
    )
