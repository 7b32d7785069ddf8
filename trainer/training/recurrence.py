"""A recurrence over T steps that share their weights: by autodiff, or with its weight gradients as one product each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import tensorflow as tf

Parameters = Mapping[str, tf.Tensor]
Linear = Callable[..., tf.Tensor]
"""lin(name, *inputs): W of that name applied to the concatenated inputs, each [n, *], plus its bias."""

State = TypeVar("State", bound=tuple[tf.Tensor, ...])
Outputs = dict[str, tf.Tensor]
Step = Callable[[Linear, tf.Tensor, State], tuple[State, Mapping[str, tf.Tensor | None]]]
"""step(lin, t, state): the next state and the outputs of step t = 0, 1, ..., from learned weights by `lin` alone."""

_WIDE = 128
"""Layers with fewer outputs, such as those that place a window, always multiply in the state's own precision: they cost
little, and an error of 2^-8 in a window's centre is a tenth of a pixel."""


def row_count(x: tf.Tensor) -> int | tf.Tensor:
    """The number of rows of a batch, static where it is known: a TPU's program has no other."""
    return x.shape[0] if x.shape[0] is not None else tf.shape(x)[0]


def start(value: tf.Tensor, n: int | tf.Tensor) -> tf.Tensor:
    """A learned part of the state before the first step, [...], for each of n rows: [n, ...]."""
    return tf.tile(value[None], [n] + [1] * value.shape.rank)


def linear(parameters: Parameters, products: tf.DType | None = None) -> Linear:
    """`lin` by plain matrix products: NAME/w is [inputs, outputs] and NAME/b [outputs].

    `products` is the precision in which wide layers multiply; sums and everything else keep the inputs' precision.
    """
    layers = {name: _Layer.of(parameters, name, products) for name in _layer_names(parameters)}

    def lin(name: str, *inputs: tf.Tensor) -> tf.Tensor:
        return layers[name].apply(tf.concat(inputs, axis=1))

    return lin


def scan(
    step: Step[State],
    parameters: Parameters,
    state: State,
    steps: int,
    shapes: Mapping[str, list[int]],
    *,
    products: tf.DType | None = None,
) -> tuple[State, Outputs]:
    """Runs `step` for t = 0 to steps - 1. Its outputs named in `shapes` (a row's) come back stacked, [T, n, ...].

    Sizes and shapes are static where the state's are, which is what lets XLA compile the loop and its gradient.
    """
    lin = linear(parameters, products)
    arrays = {name: _array(state[0].dtype, steps, [state[0].shape[0], *shape]) for name, shape in shapes.items()}

    def body(t: tf.Tensor, state: State, arrays: _Arrays) -> tuple[State, _Arrays]:
        state, outputs = step(lin, t, state)
        return state, _write(arrays, t, outputs)

    state, arrays = _loop(body, (state, arrays), steps)
    return state, {name: array.stack() for name, array in arrays.items()}


def scan_deferred(
    step: Step[State],
    parameters: Parameters,
    state: State,
    steps: int,
    shapes: Mapping[str, list[int]],
    *,
    products: tf.DType | None = None,
) -> tuple[State, Outputs]:
    """As `scan`, with the same gradient computed another way; all shapes must be static.

    Autodiff adds up a weight's gradient step by step: T small products, and T passes over memory as large as all
    weights. Here the way back keeps every layer's inputs and output gradients, and ends in one product over T n rows
    for each weight. On the way forward the states and the layers' outputs are kept; the rest of a step is computed
    again.

    Gradients reach `parameters` through `lin`, and `state`; whatever else the step uses is taken as constant.
    """
    layer_names = _layer_names(parameters)
    dtype, rows = state[0].dtype, state[0].shape[0]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def run(*arguments: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable[..., list[tf.Tensor]]]:
        weights = dict(zip(_weight_names(layer_names), arguments, strict=False))
        state: State = tf.nest.pack_sequence_as(structure, arguments[len(weights) :])
        layers = {name: _Layer.of(weights, name, products) for name in layer_names}

        def forward(
            t: tf.Tensor, state: State, arrays: _Arrays, states: _Arrays, applied: _Arrays
        ) -> tuple[State, _Arrays, _Arrays, _Arrays]:
            found: Outputs = {}

            def lin(name: str, *inputs: tf.Tensor) -> tf.Tensor:
                if name in found:
                    raise ValueError(f"A step applies layer {name!r} twice; its gradient is kept once a step.")
                found[name] = layers[name].apply(tf.concat(inputs, axis=1))
                return found[name]

            states = _write(states, t, dict(enumerate(state)))
            state, outputs = step(lin, t, state)
            return state, _write(arrays, t, outputs), states, _write(applied, t, found)

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
                found: Outputs = {}
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch((before, taps))

                    def lin(name: str, *parts: tf.Tensor) -> tf.Tensor:
                        found[name] = tf.concat(parts, axis=1)
                        return layers[name].replay(found[name], taps[name], kept[name])

                    after, outputs = step(lin, t, before)
                    sources = (after, {name: outputs[name] for name in shapes})
                d_before, d_taps = tape.gradient(
                    sources,
                    (before, taps),
                    output_gradients=(d_state, {name: d_outputs[name][t] for name in shapes}),
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                kept_as = {name: layer.w.dtype for name, layer in layers.items()}
                return (
                    d_before,
                    _write(inputs, t, {name: tf.cast(found[name], kept_as[name]) for name in layers}),
                    _write(d_applied, t, {name: tf.cast(d_taps[name], kept_as[name]) for name in layers}),
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
            weights: list[tf.Tensor] = []
            for name in layer_names:
                d_y = tf.reshape(d_applied[name].stack(), [steps * rows, -1])
                d_w = tf.matmul(tf.reshape(inputs[name].stack(), [steps * rows, -1]), d_y, transpose_a=True)
                d_b = tf.matmul(tf.ones([1, steps * rows], d_y.dtype), d_y)[0]
                weights += [tf.cast(d_w, dtype), tf.cast(d_b, dtype)]
            return weights + tf.nest.flatten(d_state)

        return (*tf.nest.flatten(last), *stacked), gradient

    structure = state
    results = run(*(parameters[name] for name in _weight_names(layer_names)), *tf.nest.flatten(state))
    last: State = tf.nest.pack_sequence_as(structure, results[: len(state)])
    return last, dict(zip(shapes, results[len(state) :], strict=True))


class _Layer(NamedTuple):
    """W, in the precision of its products, and b."""

    w: tf.Tensor
    b: tf.Tensor

    @classmethod
    def of(cls, parameters: Parameters, name: str, products: tf.DType | None) -> _Layer:
        w = parameters[f"{name}/w"]
        wide = products is not None and w.shape[1] >= _WIDE
        return cls(tf.cast(w, products) if wide else w, parameters[f"{name}/b"])

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


def _layer_names(parameters: Parameters) -> list[str]:
    return [name.removesuffix("/w") for name in parameters if name.endswith("/w")]


def _weight_names(layers: list[str]) -> list[str]:
    return [f"{layer}/{part}" for layer in layers for part in ("w", "b")]


def _array(dtype: tf.DType, steps: int, shape: list[int] | tf.TensorShape) -> tf.TensorArray:
    return tf.TensorArray(dtype, size=steps, element_shape=shape, clear_after_read=False)


def _write(arrays: _Arrays, t: tf.Tensor, values: Mapping[Any, tf.Tensor | None]) -> _Arrays:
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
