"""What training needs of each kind of model: its weights, its loss and metrics, and what a person is shown."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainer.model import attention, draw, initializers, network, ram
from trainer.task import ClassifyingTask, GenerativeTask, Task
from trainer.training import randomness, recurrence
from trainer.training.recurrence import Weights

_SAMPLES, _SAMPLE_COLUMNS = 32, 8
"""Images drawn for TensorBoard's sheet of samples."""
_STEP_ROWS, _STEP_COLUMNS = 8, 10
"""Images on a sheet that shows time-steps, and time-steps of each at most."""

_COLLAPSED_NATS = 1.0
_COLLAPSED_STEPS = 1_000
"""A KL below so many nats after so many steps is a collapsed posterior; before, it may still be on its way up."""

Tensors = Any
"""A tensor or nested tuples of tensors: a batch as the reader gives it, or the noise of one."""


class BoundMetrics(NamedTuple):
    """A generative model's metrics in nats, for each row of a batch or as means. The first is the loss."""

    nll_bound: Any
    """Eq. 12."""
    reconstruction: Any
    """Eq. 9."""
    kl_per_step: Any
    """Eq. 11's terms. [..., T]"""


class ErrorMetrics(NamedTuple):
    """A classifier's metrics, for each row of a batch or as means. The first is the loss."""

    cross_entropy: Any
    """Of the labels with the probabilities, in nats."""
    error: Any
    """1 for a row whose most probable class is not its label; as a mean the fraction of such rows."""


Metrics = Any
"""BoundMetrics or ErrorMetrics, as the objective is."""

Scan = Callable[..., Any]
"""One of `trainer.training.recurrence`."""


class Sheet(NamedTuple):
    """Images in rows and columns, with a window on each or none."""

    images: np.ndarray
    """[rows, columns, B, A, C] in [0, 1]."""
    windows: np.ndarray | None = None
    """[rows, columns, 5], see `attention.pixels`."""
    N: int = 0
    """Filters along a side of a window; 0 without windows."""


class Objective(abc.ABC):
    """What one task's model learns. Metrics are means over examples unless stated otherwise."""

    def initial_weights(self, seed: int) -> dict[str, np.ndarray]:
        """The weights that training starts from."""
        return initializers.weights(self.weight_shapes(), seed)

    @abc.abstractmethod
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of everything that is learned."""

    @abc.abstractmethod
    def training_noise(self, step: tf.Tensor, rows: int) -> Tensors:
        """What one step of training draws for a global batch of `rows` rows, which are axis 1."""

    @abc.abstractmethod
    def evaluation_noise(self, ids: tf.Tensor) -> Tensors:
        """The noise of the examples with those ids [n], always the same for an id."""

    @abc.abstractmethod
    def metrics(self, weights: Weights, batch: Tensors, noise: Tensors, scan: Scan = recurrence.scan) -> Metrics:
        """The metrics of each row of a batch, [n, ...]. Training minimises the mean of the first."""

    @abc.abstractmethod
    def zero_metrics(self) -> Metrics:
        """Zeros of the shapes of the means."""

    @abc.abstractmethod
    def training_text(self, metrics: Metrics) -> str:
        """Training's part of a progress line."""

    @abc.abstractmethod
    def validation_text(self, metrics: Metrics) -> str:
        """Validation's part of a progress line."""

    def scalars(self, metrics: Metrics) -> dict[str, float]:
        """TensorBoard's scalars of training and validation alike: the metrics, of time-steps their sum."""
        return {name.removesuffix("_per_step"): float(np.sum(value)) for name, value in metrics._asdict().items()}

    def validation_details(self, metrics: Metrics) -> dict[str, float]:
        """TensorBoard's scalars of validation alone, by their full names."""
        del metrics
        return {}

    @abc.abstractmethod
    def sheets(self, weights: Weights, batch: Tensors) -> dict[str, Sheet]:
        """TensorBoard's pictures by name; `batch` is one of validation's."""

    def warning(self, metrics: Metrics, steps_done: int) -> str | None:
        """What is wrong with a model that has these validation metrics after so many steps; None for nothing."""
        del metrics, steps_done
        return None


class BoundObjective(Objective):
    """DRAW learns to bound -log p(x), Eq. 12. A batch is the images, the noise is eps of Eq. 6."""

    def __init__(self, task: GenerativeTask) -> None:
        self._task = task
        self._generate = tf.function(lambda weights, z: draw.generate(weights, z, task, trace=True), autograph=False)

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes that `trainer.model.network` takes."""
        return network.weight_shapes(self._task)

    def training_noise(self, step: tf.Tensor, rows: int) -> tf.Tensor:
        """[T, rows, Z]."""
        return randomness.training_noise(self._task, step, rows)

    def evaluation_noise(self, ids: tf.Tensor) -> tf.Tensor:
        """[T, n, Z], the noise by which `score_examples` scores these examples."""
        return randomness.row_noise(self._task, randomness.seeds_for_ids(ids))

    def metrics(
        self, weights: Weights, batch: tf.Tensor, noise: tf.Tensor, scan: Scan = recurrence.scan
    ) -> BoundMetrics:
        """The bound and its terms by one sample of z."""
        inference = draw.infer(weights, batch, noise, self._task, scan=scan)
        return BoundMetrics(inference.nll_bound, inference.reconstruction, tf.transpose(inference.kl))

    def zero_metrics(self) -> BoundMetrics:
        """Zeros, the KL's one for each time-step."""
        return BoundMetrics(tf.zeros([]), tf.zeros([]), tf.zeros([self._task.glimpses]))

    def training_text(self, metrics: BoundMetrics) -> str:
        """The bound and the KL."""
        return f"train {float(metrics.nll_bound):6.2f} nats (KL {np.sum(metrics.kl_per_step):.2f})"

    def validation_text(self, metrics: BoundMetrics) -> str:
        """The bound."""
        return f"{metrics.nll_bound:.2f} nats"

    def validation_details(self, metrics: BoundMetrics) -> dict[str, float]:
        """The KL of each time-step."""
        return {f"validation_kl_by_step/{t:03d}": kl for t, kl in enumerate(metrics.kl_per_step, start=1)}

    def sheets(self, weights: Weights, batch: tf.Tensor) -> dict[str, Sheet]:
        """`samples` from the prior, of the same z each time, and `drawings`: how the first of them come about."""
        del batch
        generation = self._generate(weights, randomness.sample_noise(self._task, _SAMPLES))
        samples = tf.sigmoid(generation.canvas).numpy().reshape(-1, _SAMPLE_COLUMNS, *self._task.image_shape)
        canvases = _some_steps(tf.sigmoid(generation.canvases))
        if generation.write_windows is None:
            drawings = Sheet(canvases)
        else:
            drawings = Sheet(canvases, _some_steps(generation.write_windows), self._task.window_sizes["write"])
        return {"samples": Sheet(samples), "drawings": drawings}

    def warning(self, metrics: BoundMetrics, steps_done: int) -> str | None:
        """The advice for a posterior that has collapsed onto the prior."""
        kl = sum(metrics.kl_per_step)
        if steps_done <= max(_COLLAPSED_STEPS, self._task.recipe.warmup_steps) or kl >= _COLLAPSED_NATS:
            return None
        return (
            f"At step {steps_done:,} the KL is {kl:.2f} nats: the posterior has collapsed onto the prior and the "
            "latent variables carry nothing. Try a lower learning rate, more glimpses or a larger read window."
        )


class ErrorObjective(Objective):
    """The classifier learns to name the label. A batch is the images and their labels; there is no noise."""

    def __init__(self, task: ClassifyingTask) -> None:
        self._task = task
        self._classify = tf.function(lambda weights, x: ram.classify(weights, x, task, trace=True), autograph=False)

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes that `trainer.model.ram` takes."""
        return ram.weight_shapes(self._task)

    def initial_weights(self, seed: int) -> dict[str, np.ndarray]:
        """The weights that training starts from; the first window's filters reach each other.

        Their standard deviation is half the stride. With a variance of 1 they would miss most pixels, for the stride of
        12 filters over 100 pixels is 9; then the classifier does not learn to look.
        """
        rows, columns, _ = self._task.image_shape
        stride = (max(rows, columns) - 1) / (self._task.read - 1)
        values = super().initial_weights(seed)
        values[f"{attention.HEAD}/b"][2] = 2 * np.log(stride / 2)
        return values

    def training_noise(self, step: tf.Tensor, rows: int) -> tuple[()]:
        """Nothing."""
        del step, rows
        return ()

    def evaluation_noise(self, ids: tf.Tensor) -> tuple[()]:
        """Nothing."""
        del ids
        return ()

    def metrics(
        self, weights: Weights, batch: tuple[tf.Tensor, tf.Tensor], noise: tuple[()], scan: Scan = recurrence.scan
    ) -> ErrorMetrics:
        """The cross-entropy, from the logits, and the error."""
        del noise
        x, labels = batch
        logits = ram.classify(weights, x, self._task, scan=scan).logits
        wrong = tf.not_equal(tf.argmax(logits, axis=1, output_type=labels.dtype), labels)
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        return ErrorMetrics(cross_entropy, tf.cast(wrong, logits.dtype))

    def zero_metrics(self) -> ErrorMetrics:
        """Two zeros."""
        return ErrorMetrics(tf.zeros([]), tf.zeros([]))

    def training_text(self, metrics: ErrorMetrics) -> str:
        """The error and the loss."""
        return f"train error {float(metrics.error):6.2%} (loss {float(metrics.cross_entropy):.3f})"

    def validation_text(self, metrics: ErrorMetrics) -> str:
        """The error."""
        return f"error {metrics.error:.2%}"

    def sheets(self, weights: Weights, batch: tuple[tf.Tensor, tf.Tensor]) -> dict[str, Sheet]:
        """`glimpses`: a row for each image, with the window of each step."""
        x = batch[0][:_STEP_ROWS]
        windows = _some_steps(self._classify(weights, x).windows)
        images = x.numpy()[:, None].repeat(windows.shape[1], axis=1)
        return {"glimpses": Sheet(images, windows, self._task.read)}


def _some_steps(trace: tf.Tensor) -> np.ndarray:
    """[T, n, ...] to [rows, steps, ...]: the first rows, at evenly spaced steps from the first to the last."""
    count = trace.shape[0]
    steps = np.unique(np.rint(np.linspace(0, count - 1, min(count, _STEP_COLUMNS))).astype(int))
    return trace.numpy()[steps, :_STEP_ROWS].swapaxes(0, 1)


_OBJECTIVES: dict[type, Callable[..., Objective]] = {GenerativeTask: BoundObjective, ClassifyingTask: ErrorObjective}


def for_task(task: Task) -> Objective:
    """The objective of the task's kind; raises TypeError for a kind that has none."""
    if type(task) not in _OBJECTIVES:
        expected = " or ".join(kind.__name__ for kind in _OBJECTIVES)
        raise TypeError(f"{task.name} is a {type(task).__name__}; expected a {expected}.")
    return _OBJECTIVES[type(task)](task)
