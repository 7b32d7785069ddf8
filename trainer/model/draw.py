"""DRAW as pure functions of its parameters: one step, the inference network over T steps, the generator.

Every weight of a layer is used through one function `lin(name, *inputs)`, so that `trainer.training.recurrence` may
choose how the products and their gradients are computed without touching an equation. Shapes as in
`trainer.model.equations`, with T time-steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from trainer.model import attention, equations
from trainer.task import Attention, GenerativeTask
from trainer.training import recurrence
from trainer.training.recurrence import Linear, Parameters


class State(NamedTuple):
    """What one time-step hands to the next: the canvas [n, B, A, C], and outputs h and cells s of the LSTMs, [n, H]."""

    c: tf.Tensor
    h_enc: tf.Tensor
    s_enc: tf.Tensor
    h_dec: tf.Tensor
    s_dec: tf.Tensor


class Inference(NamedTuple):
    """The inference network on a batch, in nats. Traces are None unless asked for."""

    reconstruction: tf.Tensor
    """L_x, Eq. 9. [n]"""
    kl: tf.Tensor
    """L_z of each time-step, Eqs. 10-11. [T, n]"""
    log_weight: tf.Tensor
    """log p(x | z) + log p(z) - log q(z | x) of the one z that was drawn. [n]"""
    canvas: tf.Tensor
    """c_T, logits. [n, B, A, C]"""
    canvases: tf.Tensor | None = None
    """c_1 to c_T, logits. [T, n, B, A, C]"""
    read_windows: tf.Tensor | None = None
    """[T, n, 5], see `attention.pixels`; None without attention."""
    write_windows: tf.Tensor | None = None
    """[T, n, 5], see `attention.pixels`; None without attention."""

    @property
    def nll_bound(self) -> tf.Tensor:
        """Eq. 12 for each row: L_x + L_z. [n]"""
        return self.reconstruction + tf.reduce_sum(self.kl, axis=0)


class Generation(NamedTuple):
    """Images drawn from the prior, as logits. Traces are None unless asked for."""

    canvas: tf.Tensor
    """c_T. [n, B, A, C]"""
    canvases: tf.Tensor | None = None
    """c_1 to c_T. [T, n, B, A, C]"""
    write_windows: tf.Tensor | None = None
    """[T, n, 5], see `attention.pixels`; None without attention."""


def parameter_shapes(task: GenerativeTask) -> dict[str, tuple[int, ...]]:
    """Names and shapes of everything that is learned.

    Gates of an LSTM stand in the order input, forget, output, candidate. With attention, `write` gives the five window
    parameters of Eq. 21 and then the patch of Eq. 28: two linear layers of h_dec in one product.
    """
    rows, columns, channels = task.image_shape
    pixels, h, z = rows * columns * channels, task.lstm_units, task.latent_size
    if isinstance(task.attention, Attention):
        glimpse = 2 * task.attention.read**2 * channels
        written = equations.WINDOW_PARAMETERS + task.attention.write**2 * channels
        heads = {attention.HEAD: (h, equations.WINDOW_PARAMETERS)}
    else:
        glimpse, written, heads = 2 * pixels, pixels, {}
    layers = {
        **heads,
        "encoder": (glimpse + 2 * h, 4 * h),
        "latent": (h, 2 * z),
        "decoder": (z + h, 4 * h),
        "write": (h, written),
    }
    shapes: dict[str, tuple[int, ...]] = {"canvas_0": (rows, columns, channels)}
    shapes |= dict.fromkeys(("h_enc_0", "s_enc_0", "h_dec_0", "s_dec_0"), (h,))
    for name, (inputs, outputs) in layers.items():
        shapes |= {f"{name}/w": (inputs, outputs), f"{name}/b": (outputs,)}
    return shapes


def initial_state(parameters: Parameters, n: int | tf.Tensor) -> State:
    """c_0, h_enc_0 and h_dec_0, learned, for n rows."""
    names = ("canvas_0", "h_enc_0", "s_enc_0", "h_dec_0", "s_dec_0")
    return State(*(recurrence.start(parameters[name], n) for name in names))


def encode(
    lin: Linear, x: tf.Tensor, state: State, task: GenerativeTask
) -> tuple[State, tf.Tensor, tf.Tensor, tf.Tensor | None]:
    """Eqs. 1-5. Returns the state with a new h_enc, mu and log sigma [n, Z], the read window's parameters [n, 5]."""
    x_hat = x - tf.sigmoid(state.c)
    if isinstance(task.attention, Attention):
        n = task.attention.read
        patches, parameters = attention.read(lin, tf.concat([x, x_hat], axis=3), state.h_dec, filters=n)
        parts = tf.split(patches, 2, axis=3)
    else:
        parameters, parts = None, [x, x_hat]
    r = [tf.reshape(part, [-1, math.prod(part.shape[1:])]) for part in parts]
    h_enc, s_enc = equations.lstm(lin("encoder", *r, state.h_dec, state.h_enc), state.s_enc)
    mu, log_sigma = tf.split(lin("latent", h_enc), 2, axis=1)
    return state._replace(h_enc=h_enc, s_enc=s_enc), mu, log_sigma, parameters


def decode(lin: Linear, z: tf.Tensor, state: State, task: GenerativeTask) -> tuple[State, tf.Tensor | None]:
    """Eqs. 7-8. Returns the state with a new h_dec and canvas, and the write window's parameters [n, 5]."""
    rows, columns, channels = task.image_shape
    h_dec, s_dec = equations.lstm(lin("decoder", z, state.h_dec), state.s_dec)
    written = lin("write", h_dec)
    if isinstance(task.attention, Attention):
        n = task.attention.write
        parameters, w = written[:, : equations.WINDOW_PARAMETERS], written[:, equations.WINDOW_PARAMETERS :]
        window = equations.window(parameters, rows=rows, columns=columns, filters=n)
        drawn = equations.place(tf.reshape(w, [-1, n, n, channels]), window, rows=rows, columns=columns)
    else:
        parameters, drawn = None, tf.reshape(written, [-1, rows, columns, channels])
    return state._replace(h_dec=h_dec, s_dec=s_dec, c=state.c + drawn), parameters


def infer(
    parameters: Parameters,
    x: tf.Tensor,
    eps: tf.Tensor,
    task: GenerativeTask,
    *,
    trace: bool = False,
    scan: Callable[..., tuple[State, dict[str, tf.Tensor]]] = recurrence.scan,
) -> Inference:
    """Eqs. 1-11 over T steps. x: [n, B, A, C] in [0, 1]; eps: [T, n, Z], standard normal.

    `scan` runs the recurrence: one of those of `trainer.training.recurrence`.
    """

    def step(lin: Linear, t: tf.Tensor, state: State) -> tuple[State, dict[str, tf.Tensor | None]]:
        state, mu, log_sigma, read = encode(lin, x, state, task)
        z = mu + tf.exp(log_sigma) * eps[t]  # Eqs. 2 and 6: the layer gives log sigma, not log sigma^2
        state, write = decode(lin, z, state, task)
        outputs = {
            "kl": equations.kl_divergence(mu, log_sigma),
            "log_ratio": equations.log_importance_ratio(eps[t], z, log_sigma),
        }
        if trace:
            outputs |= {"canvas": state.c, "read": read, "write": write}
        return state, outputs

    shapes: dict[str, list[int]] = {"kl": [], "log_ratio": []} | (_trace_shapes(task, read=True) if trace else {})
    state, outputs = scan(step, parameters, initial_state(parameters, recurrence.row_count(x)), task.glimpses, shapes)
    reconstruction = equations.reconstruction_loss(x, state.c)
    return Inference(
        reconstruction=reconstruction,
        kl=outputs["kl"],
        log_weight=tf.reduce_sum(outputs["log_ratio"], axis=0) - reconstruction,
        canvas=state.c,
        canvases=outputs.get("canvas"),
        read_windows=_traced_windows(outputs.get("read"), task, "read"),
        write_windows=_traced_windows(outputs.get("write"), task, "write"),
    )


def generate(parameters: Parameters, z: tf.Tensor, task: GenerativeTask, *, trace: bool = False) -> Generation:
    """Eqs. 13-16. z: [T, n, Z], standard normal."""

    def step(lin: Linear, t: tf.Tensor, state: State) -> tuple[State, dict[str, tf.Tensor | None]]:
        state, write = decode(lin, z[t], state, task)
        return state, {"canvas": state.c, "write": write} if trace else {}

    shapes = _trace_shapes(task, read=False) if trace else {}
    start = initial_state(parameters, tf.shape(z)[1])
    state, outputs = recurrence.scan(step, parameters, start, task.glimpses, shapes)
    return Generation(
        canvas=state.c,
        canvases=outputs.get("canvas"),
        write_windows=_traced_windows(outputs.get("write"), task, "write"),
    )


def _trace_shapes(task: GenerativeTask, *, read: bool) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {"canvas": list(task.image_shape)}
    if isinstance(task.attention, Attention):
        shapes |= {name: [equations.WINDOW_PARAMETERS] for name in (["read", "write"] if read else ["write"])}
    return shapes


def _traced_windows(parameters: tf.Tensor | None, task: GenerativeTask, which: str) -> tf.Tensor | None:
    if parameters is None or not isinstance(task.attention, Attention):
        return None
    return attention.pixels(parameters, task.image_shape, filters=getattr(task.attention, which))
