"""DRAW as pure functions of its weights: a time-step, the inference network over T of them, the generator.

Every layer is applied through one function `lin(name, *inputs)`, so that `trainer.training.recurrence` may choose how
the products and their gradients are computed without touching an equation. Shapes as in `trainer.model.attention`, with
T time-steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from trainer.model import attention, learned_start, loss, network
from trainer.task import GenerativeTask
from trainer.training import recurrence
from trainer.training.recurrence import Linear, Outputs, Weights

_LATENTS = ("z", "mu", "log_sigma")
"""What a step traces of the latent variables."""


class State(NamedTuple):
    """What one time-step hands to the next: the canvas [n, B, A, C], and outputs h and cells s of the LSTMs, [n, H]."""

    c: tf.Tensor
    h_enc: tf.Tensor
    s_enc: tf.Tensor
    h_dec: tf.Tensor
    s_dec: tf.Tensor


class Inference(NamedTuple):
    """What the inference network makes of a batch, in nats. Traces are None unless asked for."""

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
    z: tf.Tensor | None = None
    """The latent variables that were drawn, Eq. 6. [T, n, Z]"""
    mu: tf.Tensor | None = None
    """Eq. 1. [T, n, Z]"""
    log_sigma: tf.Tensor | None = None
    """Eq. 2. [T, n, Z]"""

    @property
    def nll_bound(self) -> tf.Tensor:
        """Eq. 12 for each row: L_x + L_z. [n]"""
        return loss.nll_bound(self.reconstruction, self.kl)


class Generation(NamedTuple):
    """Images drawn from the prior, as logits. Traces are None unless asked for."""

    canvas: tf.Tensor
    """c_T. [n, B, A, C]"""
    canvases: tf.Tensor | None = None
    """c_1 to c_T. [T, n, B, A, C]"""
    write_windows: tf.Tensor | None = None
    """[T, n, 5], see `attention.pixels`; None without attention."""


def start(weights: Weights, n: int | tf.Tensor) -> State:
    """c_0, h_enc_0 and h_dec_0, learned, for n rows."""
    return State(*learned_start.for_rows(learned_start.DRAW, weights, n))


def step(net: network.Network, state: State, x: tf.Tensor, eps: tf.Tensor) -> State:
    """One time-step of inference. x: [n, B, A, C] in [0, 1]; eps: [n, Z], standard normal."""
    c, h_enc, s_enc, h_dec, s_dec = state
    # fmt: off
    x_hat = x - tf.sigmoid(c)                               # Eq. 3
    r = net.read(x, x_hat, h_dec)                           # Eq. 4, by Eq. 17 or 27
    h_enc, s_enc = net.encoder(h_enc, s_enc, [*r, h_dec])   # Eq. 5
    z = net.sample(h_enc, eps)                              # Eqs. 1, 2 and 6
    h_dec, s_dec = net.decoder(h_dec, s_dec, z)             # Eq. 7
    c = c + net.write(h_dec)                                # Eq. 8, by Eq. 18 or 29
    # fmt: on
    return State(c, h_enc, s_enc, h_dec, s_dec)


def generative_step(net: network.Network, state: State, z: tf.Tensor) -> State:
    """One time-step of generation: the second half of `step`, with z [n, Z] from the prior (Eq. 13)."""
    h_dec, s_dec = net.decoder(state.h_dec, state.s_dec, z)  # Eq. 14
    c = state.c + net.write(h_dec)  # Eq. 15
    return state._replace(c=c, h_dec=h_dec, s_dec=s_dec)


def infer(
    weights: Weights,
    x: tf.Tensor,
    eps: tf.Tensor,
    task: GenerativeTask,
    *,
    trace: bool = False,
    latents: bool = False,
    scan: Callable[..., tuple[State, Outputs]] = recurrence.scan,
) -> Inference:
    """Eqs. 1-11 over T steps. x: [n, B, A, C] in [0, 1]; eps: [T, n, Z], standard normal.

    `trace` asks for the canvases and windows, `latents` for z, mu and log_sigma. `scan` runs the recurrence: one of
    those of `trainer.training.recurrence`.
    """

    def at(lin: Linear, t: tf.Tensor, state: State) -> tuple[State, Outputs]:
        net = network.for_task(task, lin)
        state = step(net, state, x, eps[t])
        return state, {**net.trace, "canvas": state.c}

    shapes: dict[str, list[int]] = {"kl": [], "log_ratio": []}
    if trace:
        shapes |= _trace_shapes(task, *task.window_sizes)
    if latents:
        shapes |= {name: [task.latent_size] for name in _LATENTS}
    state, outputs = scan(at, weights, start(weights, recurrence.row_count(x)), task.glimpses, shapes)
    reconstruction = loss.reconstruction_loss(x, state.c)
    return Inference(
        reconstruction=reconstruction,
        kl=outputs["kl"],
        log_weight=tf.reduce_sum(outputs["log_ratio"], axis=0) - reconstruction,
        canvas=state.c,
        canvases=outputs.get("canvas"),
        **_windows(outputs, task),
        **{name: outputs.get(name) for name in _LATENTS},
    )


def generate(
    weights: Weights,
    z: tf.Tensor,
    task: GenerativeTask,
    *,
    trace: bool = False,
    scan: Callable[..., tuple[State, Outputs]] = recurrence.scan,
) -> Generation:
    """Eqs. 13-16: z is the noise itself. z: [T, n, Z], standard normal. `scan` is as for `infer`."""

    def at(lin: Linear, t: tf.Tensor, state: State) -> tuple[State, Outputs]:
        net = network.for_task(task, lin)
        state = generative_step(net, state, z[t])
        return state, {**net.trace, "canvas": state.c}

    shapes = _trace_shapes(task, *task.window_sizes.keys() & {"write"}) if trace else {}
    state, outputs = scan(at, weights, start(weights, tf.shape(z)[1]), task.glimpses, shapes)
    return Generation(canvas=state.c, canvases=outputs.get("canvas"), **_windows(outputs, task))


def _trace_shapes(task: GenerativeTask, *windows: str) -> dict[str, list[int]]:
    """The shapes of a row's traces: canvases, and the parameters of the named windows."""
    return {"canvas": list(task.image_shape)} | {f"{name}_window": [attention.WINDOW_PARAMETERS] for name in windows}


def _windows(outputs: Outputs, task: GenerativeTask) -> Outputs:
    """`read_windows` and `write_windows` in pixels, those of them that were traced."""
    return {
        f"{name}_windows": attention.pixels(outputs[f"{name}_window"], task.image_shape, N=N)
        for name, N in task.window_sizes.items()
        if f"{name}_window" in outputs
    }
