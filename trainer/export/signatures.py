"""What the signatures of every kind of model share: how they hold the weights, and what input they refuse."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from trainer.task import Task

Outputs = dict[str, tf.Tensor]


class Signatures(tf.Module, abc.ABC):
    """The functions that a server calls. Row i of their outputs depends on row i of their inputs alone.

    Images are float32 [n, B, A, C] in [0, 1], 0 or 1 for a binarised task. Anything else raises InvalidArgumentError
    with the reason, which a server answers as INVALID_ARGUMENT.
    """

    METHODS: ClassVar[Mapping[str, str]] = {}
    """The method names of signatures that TF Serving calls by another method than Predict."""

    def __init__(self, task: Task, weights: Mapping[str, np.ndarray], task_file: str) -> None:
        """`weights` by the names of the model; `task_file` is the resolved task, which becomes an asset."""
        super().__init__(name="draw")
        self._task = task
        self._weights = {name: tf.Variable(value, trainable=False, name=name) for name, value in weights.items()}
        self.task_json = tf.saved_model.Asset(task_file)
        for name, specification in self.inputs(task).items():
            function = tf.function(getattr(self, f"_{name}"), input_signature=specification, autograph=False)
            setattr(self, name, function)

    @staticmethod
    @abc.abstractmethod
    def inputs(task: Any) -> Mapping[str, list[tf.TensorSpec]]:
        """What each signature takes, the default signature first. NAME is computed by the method `_NAME`."""

    def functions(self) -> dict[str, Any]:
        """The functions by the names under which a server finds them."""
        functions = {name: getattr(self, name) for name in self.inputs(self._task)}
        return functions | {"serving_default": next(iter(functions.values()))}


def image_spec(task: Task) -> tf.TensorSpec:
    """The specification of the input `image`."""
    return tf.TensorSpec([None, *task.image_shape], tf.float32, name="image")


def require(condition: tf.Tensor, message: str, *values: tf.Tensor) -> tf.Operation:
    """Raises InvalidArgumentError with the message and the values where the condition does not hold."""
    return tf.debugging.Assert(condition, [message, *values])


def require_pixels(image: tf.Tensor, task: Task) -> tf.Operation:
    """Raises InvalidArgumentError for a pixel of a kind that the model was not trained on."""
    if task.binary:
        allowed = tf.reduce_all(tf.logical_or(tf.equal(image, 0.0), tf.equal(image, 1.0)))
        return require(allowed, "Every pixel of `image` must be 0 or 1: this model was trained on binarised images.")
    # Written so that a NaN fails it.
    allowed = tf.reduce_all(tf.logical_and(image >= 0.0, image <= 1.0))
    return require(allowed, "Every pixel of `image` must lie in [0, 1]: divide intensities by 255.")


def by_row(trace: tf.Tensor) -> tf.Tensor:
    """[T, n, ...] to [n, T, ...]."""
    return tf.transpose(trace, [1, 0, *range(2, trace.shape.rank)])
