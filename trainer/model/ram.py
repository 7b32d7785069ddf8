"""The differentiable RAM classifier of section 4.1 as pure functions of its parameters; shapes as in `draw`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from trainer.model import attention, equations
from trainer.task import ClassifyingTask
from trainer.training import recurrence
from trainer.training.recurrence import Linear, Parameters


class State(NamedTuple):
    """What one glimpse hands to the next: the output h and the cells s of the LSTM, [n, H]."""

    h: tf.Tensor
    s: tf.Tensor


class Classification(NamedTuple):
    """What the classifier makes of a batch."""

    logits: tf.Tensor
    """Before the softmax. [n, classes]"""
    windows: tf.Tensor | None = None
    """[T, n, 5], see `attention.pixels`; None unless asked for."""


def parameter_shapes(task: ClassifyingTask) -> dict[str, tuple[int, ...]]:
    """Names and shapes of everything that is learned; an LSTM's gates stand in the order of `equations.lstm`."""
    h, glimpse = task.lstm_units, task.read**2 * task.image_shape[2]
    layers = {
        attention.HEAD: (h, equations.WINDOW_PARAMETERS),
        "lstm": (glimpse + h, 4 * h),
        "classes": (h, task.classes),
    }
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("h_0", "s_0"), (h,))
    for name, (inputs, outputs) in layers.items():
        shapes |= {f"{name}/w": (inputs, outputs), f"{name}/b": (outputs,)}
    return shapes


def initial_state(parameters: Parameters, n: int | tf.Tensor) -> State:
    """h_0 and s_0, learned, for n rows."""
    return State(*(recurrence.start(parameters[name], n) for name in ("h_0", "s_0")))


def glimpse(lin: Linear, x: tf.Tensor, state: State, task: ClassifyingTask) -> tuple[State, tf.Tensor]:
    """Eq. 27 of x alone, placed by h_{t-1}, into the LSTM. Returns the new state and the window's parameters [n, 5]."""
    patch, parameters = attention.read(lin, x, state.h, filters=task.read)
    r = tf.reshape(patch, [-1, math.prod(patch.shape[1:])])
    return State(*equations.lstm(lin("lstm", r, state.h), state.s)), parameters


def classify(
    parameters: Parameters,
    x: tf.Tensor,
    task: ClassifyingTask,
    *,
    trace: bool = False,
    scan: Callable[..., tuple[State, dict[str, tf.Tensor]]] = recurrence.scan,
) -> Classification:
    """T glimpses, and a linear layer of the last output. x: [n, B, A, C] in [0, 1].

    `scan` runs the recurrence: one of those of `trainer.training.recurrence`.
    """

    def step(lin: Linear, t: tf.Tensor, state: State) -> tuple[State, dict[str, tf.Tensor]]:
        # Nobody asks for the gradient of the images, but a loop would add it up at every step: half of all the time.
        state, window = glimpse(lin, tf.stop_gradient(x), state, task)
        return state, {"window": window} if trace else {}

    shapes = {"window": [equations.WINDOW_PARAMETERS]} if trace else {}
    # The last layer is no part of the recurrence, which would apply it at every step.
    looking = {name: value for name, value in parameters.items() if not name.startswith("classes/")}
    state, outputs = scan(step, looking, initial_state(parameters, recurrence.row_count(x)), task.glimpses, shapes)
    windows = attention.pixels(outputs["window"], task.image_shape, filters=task.read) if trace else None
    return Classification(recurrence.linear(parameters)("classes", state.h), windows)
