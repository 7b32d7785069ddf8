"""Adam or Muon with clipping, a schedule and weight averaging: one pure function that XLA compiles whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainer.model import initializers
from trainer.task import Task
from trainer.training import muon, recurrence

Tensors = Mapping[str, tf.Tensor]


class Optimised(NamedTuple):
    """The parameters with Adam's moments and their moving average, all keyed by parameter."""

    parameters: dict[str, tf.Tensor]
    first_moment: dict[str, tf.Tensor]
    second_moment: dict[str, tf.Tensor]
    average: dict[str, tf.Tensor]

    def flat(self) -> dict[str, tf.Tensor]:
        """Every tensor by one name, such as `first_moment/encoder/w`."""
        return {f"{group}/{name}": v for group, values in self._asdict().items() for name, v in values.items()}

    @classmethod
    def from_flat(cls, values: Tensors) -> Optimised:
        """Invert `flat`."""
        groups: dict[str, dict[str, tf.Tensor]] = {group: {} for group in cls._fields}
        for path, value in values.items():
            group, _, name = path.partition("/")
            groups[group][name] = value
        return cls(**groups)


def learning_rate(task: Task, step: tf.Tensor) -> tf.Tensor:
    """Rate of step 0, 1, ...: a linear warm-up, then half a cosine from learning_rate to final_learning_rate.

    The cosine runs over the cost of the steps after the warm-up; a step costs its number of glimpses.
    """
    recipe = task.recipe
    warmup = (tf.cast(step, tf.float32) + 1) / max(recipe.warmup_steps, 1)
    firsts, glimpses = zip(*task.glimpse_phases, strict=True)
    starts = np.maximum(firsts, recipe.warmup_steps).astype(np.float32)
    lengths = np.diff(starts, append=np.float32(recipe.steps))
    cost = tf.reduce_sum(tf.clip_by_value(tf.cast(step, tf.float32) - starts, 0.0, lengths) * glimpses)
    progress = cost / float(np.sum(lengths * glimpses))
    cosine = 0.5 * (1 + tf.cos(math.pi * progress))
    decayed = recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * cosine
    return tf.minimum(recipe.learning_rate * warmup, decayed)


def update(task: Task, step: tf.Tensor, state: Optimised, gradients: Tensors) -> tuple[Optimised, tf.Tensor]:
    """Take one step of Adam (Kingma and Ba, 2015) on gradients clipped by their global norm.

    It is the reordered form that their section 2 gives after Algorithm 1, with its epsilon hat. A recipe of Muon takes
    its step for the matrices of wide layers, and Adam's for all else. Weight decay is decoupled (Loshchilov and Hutter,
    2019). Returns the new state and the norm before clipping.
    """
    recipe = task.recipe
    norm = tf.linalg.global_norm(list(gradients.values()))
    scale = recipe.clip_norm / tf.maximum(norm, recipe.clip_norm)
    t = tf.cast(step + 1, tf.float32)
    beta1, beta2 = recipe.adam_beta1, recipe.adam_beta2
    rate = learning_rate(task, step)
    adam_rate = rate * tf.sqrt(1 - beta2**t) / (1 - beta1**t)
    # The average lengthens with the steps since the phase began: a fixed decay would long remember the random start, or
    # the weights of another number of glimpses.
    firsts = tf.constant([float(first) for first, _ in task.glimpse_phases])
    age = t - tf.reduce_max(tf.where(firsts < t, firsts, 0.0))
    decay = tf.minimum(recipe.ema_decay, age / (age + 10))
    new = Optimised({}, {}, {}, {})
    for name, gradient in gradients.items():
        g = gradient * scale
        by_muon = recipe.optimizer == "muon" and _is_wide_matrix(name, g)
        beta = muon.MOMENTUM if by_muon else beta1
        m, v = beta * state.first_moment[name] + (1 - beta) * g, state.second_moment[name]
        if by_muon:
            nesterov = beta * m + (1 - beta) * g
            change = rate * muon.direction(nesterov, initializers.blocks(name.removesuffix("/w")))
        else:
            v = beta2 * v + (1 - beta2) * tf.square(g)
            change = adam_rate * m / (tf.sqrt(v) + 1e-8)
        if name.endswith("/w") and recipe.weight_decay:
            change += rate * recipe.weight_decay * state.parameters[name]
        parameter = state.parameters[name] - change
        new.parameters[name], new.first_moment[name], new.second_moment[name] = parameter, m, v
        new.average[name] = decay * state.average[name] + (1 - decay) * parameter
    return new, norm


def _is_wide_matrix(name: str, value: tf.Tensor) -> bool:
    return name.endswith("/w") and value.shape[1] >= recurrence.WIDE
