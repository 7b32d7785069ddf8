"""What the signatures of every kind of model share: how they hold the weights, and what input they refuse."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import tensorflow as tf

from trainer.task import Task
from trainer.training import recurrence
from trainer.training.recurrence import Weights

Outputs = dict[str, tf.Tensor]


class Signatures(tf.Module, abc.ABC):
    """The functions that a server calls. Row i of their outputs depends on row i of their inputs alone.

    Images are float32 [n, B, A, C] in [0, 1], 0 or 1 for a binarised task. Anything else raises InvalidArgumentError
    with the reason, which a server answers as INVALID_ARGUMENT.
    """

    METHODS: ClassVar[Mapping[str, str]] = {}
    """The method names of signatures that TF Serving calls by another method than Predict."""

    def __init__(self, task: Task, weights: Weights, *, scan: Callable[..., Any] = recurrence.scan) -> None:
        """`weights` by the names of the model; `scan` is as for `draw.infer`."""
        super().__init__(name="draw")
        self._task, self._weights, self._scan = task, dict(weights), scan
        for name, specification in self.inputs(task).items():
            function = tf.function(getattr(self, f"_{name}"), input_signature=specification, autograph=False)
            setattr(self, name, function)

    @staticmethod
    @abc.abstractmethod
    def inputs(task: Any) -> Mapping[str, list[tf.TensorSpec]]:
        """What each signature takes, the default signature first. NAME is computed by the method `_NAME`."""

    def compute(self, name: str, *inputs: tf.Tensor) -> Outputs:
        """Computes a signature's outputs in the graph that is being built."""
        outputs: Outputs = getattr(self, f"_{name}")(*inputs)
        return outputs

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
    """[T, n, ...] to [n, T, ...], or back."""
    return tf.transpose(trace, [1, 0, *range(2, trace.shape.rank)])
