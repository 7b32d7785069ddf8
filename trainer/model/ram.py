"""The differentiable RAM classifier of section 4.1 as pure functions of its weights; shapes as in `draw`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from trainer.model import attention, learned_start, network
from trainer.task import ClassifyingTask
from trainer.training import recurrence
from trainer.training.recurrence import Linear, Outputs, Weights


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


def weight_shapes(task: ClassifyingTask) -> dict[str, tuple[int, ...]]:
    """Names and shapes of everything that is learned. The LSTM's gates are in the order of `network.lstm`."""
    h, glimpse = task.lstm_units, task.read**2 * task.image_shape[2]
    layers = {
        attention.HEAD: (h, attention.WINDOW_PARAMETERS),
        "lstm": (glimpse + h, 4 * h),
        "classes": (h, task.classes),
    }
    return learned_start.weight_shapes(learned_start.CLASSIFIER, task) | recurrence.layer_shapes(layers)


def start(weights: Weights, n: int | tf.Tensor) -> State:
    """h_0 and s_0, learned, for n rows."""
    return State(*learned_start.for_rows(learned_start.CLASSIFIER, weights, n))


def glimpse(lin: Linear, state: State, x: tf.Tensor, task: ClassifyingTask) -> tuple[State, tf.Tensor]:
    """Looks where h points and updates the LSTM. Returns the new state and the window parameters [n, 5]."""
    r, window_parameters = attention.read(lin, x, state.h, N=task.read)  # Eq. 27, of x alone
    return State(*network.lstm(lin("lstm", r, state.h), state.s)), window_parameters


def classify(
    weights: Weights,
    x: tf.Tensor,
    task: ClassifyingTask,
    *,
    trace: bool = False,
    scan: Callable[..., tuple[State, Outputs]] = recurrence.scan,
) -> Classification:
    """T glimpses, and a linear layer of the last output. x: [n, B, A, C] in [0, 1].

    `scan` runs the recurrence: one of those of `trainer.training.recurrence`.
    """

    def at(lin: Linear, t: tf.Tensor, state: State) -> tuple[State, Outputs]:
        # Nobody asks for the gradient of the images, but a loop would add it up at every step: half of all the time.
        state, window_parameters = glimpse(lin, state, tf.stop_gradient(x), task)
        return state, {"window": window_parameters}

    shapes = {"window": [attention.WINDOW_PARAMETERS]} if trace else {}
    # The last layer is no part of the recurrence, which would apply it at every step.
    recurrent = {name: value for name, value in weights.items() if not name.startswith("classes/")}
    state, outputs = scan(at, recurrent, start(weights, recurrence.row_count(x)), task.glimpses, shapes)
    windows = attention.pixels(outputs["window"], task.image_shape, N=task.read) if trace else None
    return Classification(recurrence.linear(weights)("classes", state.h), windows)
