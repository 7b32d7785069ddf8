"""A recurrence over T steps that share their weights: by autodiff, or with its weight gradients as one product each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import tensorflow as tf

Weights = Mapping[str, tf.Tensor]
"""Everything that is learned, by name: the start of a recurrence, and NAME/w and NAME/b of its layers."""
Linear = Callable[..., tf.Tensor]
"""lin(name, *inputs): W of that name applied to the concatenated inputs, each [n, ...] and flattened, plus its bias."""

State = TypeVar("State", bound=tuple[tf.Tensor, ...])
Outputs = dict[str, tf.Tensor]
Step = Callable[[Linear, tf.Tensor, State], tuple[State, Outputs]]
"""step(lin, t, state): the next state and the outputs of step t = 0, 1, ..., from learned weights by `lin` alone."""

WIDE = 128
"""Layers with fewer outputs, such as those that place a window, always multiply in the state's own precision: they cost
little, and an error of 2^-8 in a window's centre is a tenth of a pixel."""


def layer_shapes(layers: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of layers that are given as NAME: (inputs, outputs)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (inputs, outputs) in layers.items():
        shapes |= {f"{name}/w": (inputs, outputs), f"{name}/b": (outputs,)}
    return shapes


def row_count(x: tf.Tensor) -> int | tf.Tensor:
    """The number of rows of a batch, static where it is known: a TPU's program has no other."""
    return x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]


def linear(weights: Weights, matmul_dtype: tf.DType | None = None) -> Linear:
    """`lin` by plain matrix products.

    `matmul_dtype` is the precision in which wide layers multiply; sums and everything else keep the inputs' precision.
    """
    layers = _layers(weights, matmul_dtype)
    return lambda name, *inputs: layers[name].apply(_joined(inputs))


def scan(
    step: Step[State],
    weights: Weights,
    state: State,
    steps: int,
    shapes: Mapping[str, list[int]],
    *,
    matmul_dtype: tf.DType | None = None,
) -> tuple[State, Outputs]:
    """Runs `step` for t = 0 to steps - 1. Of its outputs, those that `shapes` names come back stacked, [T, n, ...].

    `shapes` are a row's. Sizes are static where the state's are, which is what lets XLA compile the loop and its
    gradient.
    """
    lin = linear(weights, matmul_dtype)
    arrays = {name: _array(state[0].dtype, steps, [state[0].shape[0], *shape]) for name, shape in shapes.items()}

    def body(t: tf.Tensor, state: State, arrays: _Arrays) -> tuple[State, _Arrays]:
        state, outputs = step(lin, t, state)
        return state, _write(arrays, t, outputs)

    state, arrays = _loop(body, (state, arrays), steps)
    return state, {name: array.stack() for name, array in arrays.items()}


def scan_deferred(
    step: Step[State],
    weights: Weights,
    state: State,
    steps: int,
    shapes: Mapping[str, list[int]],
    *,
    matmul_dtype: tf.DType | None = None,
) -> tuple[State, Outputs]:
    """Runs `step` as `scan` does, with the same gradient computed another way; all shapes must be static.

    Autodiff adds up a weight's gradient step by step: T small products, and T passes over memory as large as all
    weights. Here the way back keeps every layer's inputs and output gradients, and ends in one product over T n rows
    for each weight. On the way forward the states and the layers' outputs are kept; the rest of a step is computed
    again.

    Gradients reach `weights` through `lin`, and `state`; whatever else the step uses is taken as constant.
    """
    names = _weight_names(weights)
    dtype, rows = state[0].dtype, state[0].shape[0]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(*arguments: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable[..., list[tf.Tensor]]]:
        layers = _layers(dict(zip(names, arguments, strict=False)), matmul_dtype)
        state: State = tf.nest.pack_sequence_as(structure, arguments[len(names) :])

        def forward(
            t: tf.Tensor, state: State, arrays: _Arrays, states: _Arrays, applied: _Arrays
        ) -> tuple[State, _Arrays, _Arrays, _Arrays]:
            results: Outputs = {}

            def lin(name: str, *inputs: tf.Tensor) -> tf.Tensor:
                if name in results:
                    raise ValueError(f"A step applies layer {name!r} twice; its gradient is kept once a step.")
                results[name] = layers[name].apply(_joined(inputs))
                return results[name]

            states = _write(states, t, dict(enumerate(state)))
            state, outputs = step(lin, t, state)
            return state, _write(arrays, t, outputs), states, _write(applied, t, results)

        last, arrays, states, applied = _loop(
            forward,
            (
                state,
                {name: _array(dtype, steps, [rows, *shape]) for name, shape in shapes.items()},
                {index: _array(dtype, steps, value.shape) for index, value in enumerate(state)},
                {name: _array(dtype, steps, [rows, layer.outputs]) for name, layer in layers.items()},
            ),
            steps,
        )
        stacked = [arrays[name].stack() for name in shapes]

        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor]:
            d_state = tf.nest.pack_sequence_as(structure, upstream[: len(state)])
            d_outputs = dict(zip(shapes, upstream[len(state) :], strict=True))

            def backward(
                i: tf.Tensor, d_state: State, inputs: _Arrays, d_applied: _Arrays
            ) -> tuple[State, _Arrays, _Arrays]:
                t = steps - 1 - i
                before = tf.nest.pack_sequence_as(structure, [states[index].read(t) for index in range(len(state))])
                kept = {name: array.read(t) for name, array in applied.items()}
                taps = tf.nest.map_structure(tf.zeros_like, kept)
                layer_inputs: Outputs = {}
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch((before, taps))

                    def lin(name: str, *parts: tf.Tensor) -> tf.Tensor:
                        layer_inputs[name] = _joined(parts)
                        return layers[name].replay(layer_inputs[name], taps[name], kept[name])

                    after, outputs = step(lin, t, before)
                    sources = (after, {name: outputs[name] for name in shapes})
                d_before, d_taps = tape.gradient(
                    sources,
                    (before, taps),
                    output_gradients=(d_state, {name: d_outputs[name][t] for name in shapes}),
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                return (
                    d_before,
                    _write(inputs, t, {name: tf.cast(layer_inputs[name], layers[name].w.dtype) for name in layers}),
                    _write(d_applied, t, {name: tf.cast(d_taps[name], layers[name].w.dtype) for name in layers}),
                )

            d_state, inputs, d_applied = _loop(
                backward,
                (
                    d_state,
                    {name: _array(layer.w.dtype, steps, [rows, layer.inputs]) for name, layer in layers.items()},
                    {name: _array(layer.w.dtype, steps, [rows, layer.outputs]) for name, layer in layers.items()},
                ),
                steps,
            )
            d_weights: list[tf.Tensor] = []
            for name in layers:
                d_y = tf.reshape(d_applied[name].stack(), [steps * rows, -1])
                d_w = tf.matmul(tf.reshape(inputs[name].stack(), [steps * rows, -1]), d_y, transpose_a=True)
                d_b = tf.matmul(tf.ones([1, steps * rows], d_y.dtype), d_y)[0]
                d_weights += [tf.cast(d_w, dtype), tf.cast(d_b, dtype)]
            return d_weights + tf.nest.flatten(d_state)

        return (*tf.nest.flatten(last), *stacked), gradient

    structure = state
    results = run(*(weights[name] for name in names), *tf.nest.flatten(state))
    last: State = tf.nest.pack_sequence_as(structure, results[: len(state)])
    return last, dict(zip(shapes, results[len(state) :], strict=True))


class _Layer(NamedTuple):
    """W, in the precision of its products, and b."""

    w: tf.Tensor
    b: tf.Tensor

    @property
    def inputs(self) -> int:
        return int(self.w.shape[0])

    @property
    def outputs(self) -> int:
        return int(self.w.shape[1])

    def apply(self, a: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.matmul(tf.cast(a, self.w.dtype), self.w), a.dtype) + self.b

    def replay(self, a: tf.Tensor, tap: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """`apply(a)`, known to be y, whose gradient with respect to y is handed to `tap` as well."""

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def known(a: tf.Tensor, tap: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
            def gradient(d_y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                d_a = tf.matmul(tf.cast(d_y, self.w.dtype), self.w, transpose_b=True)
                return tf.cast(d_a, a.dtype), d_y

            return tf.identity(y), gradient

        return known(a, tap)


_Arrays = dict[Any, tf.TensorArray]


def _layers(weights: Weights, matmul_dtype: tf.DType | None) -> dict[str, _Layer]:
    layers = {}
    for name in (name.removesuffix("/w") for name in weights if name.endswith("/w")):
        w = weights[f"{name}/w"]
        wide = matmul_dtype is not None and w.shape[1] >= WIDE
        layers[name] = _Layer(tf.cast(w, matmul_dtype) if wide else w, weights[f"{name}/b"])
    return layers


def _weight_names(weights: Weights) -> list[str]:
    """The names of the layers' weights, layer by layer."""
    layers = [name.removesuffix("/w") for name in weights if name.endswith("/w")]
    return [f"{layer}/{part}" for layer in layers for part in ("w", "b")]


def _joined(inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    """A layer's inputs, [n, ...] each, as one: [n, all of their numbers]."""
    flat = [x if x.shape.rank == 2 else tf.reshape(x, [-1, math.prod(x.shape[1:])]) for x in inputs]
    return tf.concat(flat, axis=1)


def _array(dtype: tf.DType, steps: int, shape: list[int] | tf.TensorShape) -> tf.TensorArray:
    return tf.TensorArray(dtype, size=steps, element_shape=shape, clear_after_read=False)


def _write(arrays: _Arrays, t: tf.Tensor, values: Mapping[Any, tf.Tensor]) -> _Arrays:
    return {key: array.write(t, values[key]) for key, array in arrays.items()}


def _loop(body: Callable[..., tuple], carried: tuple, steps: int) -> tuple:
    """`carried` after body(t, *carried) for t = 0 to steps - 1."""
    _, *carried = tf.while_loop(
        lambda t, *_: t < steps,
        lambda t, *carried: (t + 1, *body(t, *carried)),
        (tf.constant(0), *carried),
        maximum_iterations=steps,
    )
    return tuple(carried)
