"""What the signatures of both kinds of model have in common: how they hold the weights, and what they refuse."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from trainer.task import Task

Outputs = dict[str, tf.Tensor]


class Signatures(tf.Module, abc.ABC):
    """The functions that a server calls; row i of what they give depends on row i of what they are given alone.

    Images are float32 [n, B, A, C] in [0, 1], 0 or 1 for a binarised task. Anything else raises InvalidArgumentError
    with the reason, which a server answers as INVALID_ARGUMENT.
    """

    NAMES: ClassVar[tuple[str, ...]]
    """Methods of that name with an underscore before; the first is the default of a server."""
    METHODS: ClassVar[Mapping[str, str]] = {}
    """Of a signature that another call than TF Serving's Predict may use, that call's method name."""

    def __init__(self, task: Task, parameters: Mapping[str, np.ndarray], task_file: str) -> None:
        super().__init__(name="draw")
        self._parameters = {name: tf.Variable(value, trainable=False, name=name) for name, value in parameters.items()}
        self.task_json = tf.saved_model.Asset(task_file)
        for name, specification in self.inputs(task).items():
            function = tf.function(getattr(self, f"_{name}"), input_signature=specification, autograph=False)
            setattr(self, name, function)

    @staticmethod
    @abc.abstractmethod
    def inputs(task: Any) -> Mapping[str, list[tf.TensorSpec]]:
        """What each signature takes."""

    def functions(self) -> dict[str, Any]:
        """By the names under which a server finds them."""
        return {name: getattr(self, name) for name in self.NAMES} | {"serving_default": getattr(self, self.NAMES[0])}


def image_spec(task: Task) -> tf.TensorSpec:
    """Of the input `image`."""
    return tf.TensorSpec([None, *task.image_shape], tf.float32, name="image")


def require(condition: tf.Tensor, message: str, *values: tf.Tensor) -> tf.Operation:
    """Raises InvalidArgumentError with the message where the condition does not hold."""
    return tf.debugging.Assert(condition, [message, *values])


def require_pixels(image: tf.Tensor, task: Task) -> tf.Operation:
    """Raises InvalidArgumentError where a pixel is none that the model has learned from."""
    if task.binary:
        allowed = tf.reduce_all(tf.logical_or(tf.equal(image, 0.0), tf.equal(image, 1.0)))
        return require(allowed, "Every pixel of `image` must be 0 or 1: this model was trained on binarised images.")
    # Written so that a NaN fails it.
    allowed = tf.reduce_all(tf.logical_and(image >= 0.0, image <= 1.0))
    return require(allowed, "Every pixel of `image` must lie in [0, 1]: divide intensities by 255.")


def by_row(trace: tf.Tensor) -> tf.Tensor:
    """[T, n, ...] to [n, T, ...]."""
    return tf.transpose(trace, [1, 0, *range(2, trace.shape.rank)])
