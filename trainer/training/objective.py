"""What the step and the loop need of each kind of model: its parameters, its loss, and what a person is told of it."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainer.model import attention, draw, initializers, ram
from trainer.task import Attention, ClassifyingTask, GenerativeTask, Task
from trainer.training import pictures, randomness, recurrence
from trainer.training.recurrence import Parameters

_SAMPLES, _SAMPLE_COLUMNS = 32, 8
"""Images drawn for TensorBoard."""
_ROWS = 8
"""Of the sheets for TensorBoard that show steps: drawings, or images that a classifier looks at."""

_COLLAPSED_NATS = 1.0
_COLLAPSED_STEPS = 1_000
"""A KL below so many nats after so many steps is a collapsed posterior; before, it may still be on its way up."""

Tensors = Any
"""A tensor or nested tuples of tensors: a batch as the reader gives it, or the noise of one."""


class BoundFigures(NamedTuple):
    """Of a generative model in nats, for each row of a batch or as means. The first is the loss."""

    nll_bound: Any
    """Eq. 12."""
    reconstruction: Any
    """Eq. 9."""
    kl_per_step: Any
    """Eq. 11's terms. [..., T]"""


class ErrorFigures(NamedTuple):
    """Of a classifier, for each row of a batch or as means. The first is the loss."""

    cross_entropy: Any
    """Of the labels with the probabilities, in nats."""
    error: Any
    """1 for a row whose most probable class is not its label; of many rows the fraction of such."""


Figures = Any
"""BoundFigures or ErrorFigures, as the objective is."""

Scan = Callable[..., Any]
"""One of `trainer.training.recurrence`."""


class Objective(abc.ABC):
    """Of one task. Where nothing else is said, figures are means over examples."""

    def initial_parameters(self, seed: int) -> dict[str, np.ndarray]:
        """Where training starts."""
        return initializers.parameters(self.parameter_shapes(), seed)

    @abc.abstractmethod
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of everything that is learned."""

    @abc.abstractmethod
    def training_noise(self, step: tf.Tensor, rows: int) -> Tensors:
        """What one step of training draws for a global batch of `rows` rows, which are its axis 1."""

    @abc.abstractmethod
    def evaluation_noise(self, ids: tf.Tensor) -> Tensors:
        """The same for examples with those ids [n], by which it is fixed."""

    @abc.abstractmethod
    def figures(self, parameters: Parameters, batch: Tensors, noise: Tensors, scan: Scan = recurrence.scan) -> Figures:
        """Of each row of a batch: [n, ...]. The mean of the first is what training minimises."""

    @abc.abstractmethod
    def zero(self) -> Figures:
        """Zeros of the shapes of the means."""

    @abc.abstractmethod
    def training_text(self, figures: Figures) -> str:
        """For a line of progress."""

    @abc.abstractmethod
    def validation_text(self, figures: Figures) -> str:
        """For a line of progress."""

    @abc.abstractmethod
    def scalars(self, figures: Figures) -> dict[str, float]:
        """For TensorBoard, of training and validation alike."""

    def validation_details(self, figures: Figures) -> dict[str, float]:
        """More for TensorBoard, of validation alone, by the full name."""
        del figures
        return {}

    @abc.abstractmethod
    def pictures(self, parameters: Parameters, batch: Tensors) -> dict[str, np.ndarray]:
        """Images for TensorBoard, as `pictures.sheet` makes them; `batch` is one of validation's."""

    def warning(self, figures: Figures, done: int) -> str | None:
        """What is wrong with a model that has these validation figures after `done` steps."""
        del figures, done
        return None


class BoundObjective(Objective):
    """DRAW learns to bound -log p(x), Eq. 12. A batch is the images, the noise eps of Eq. 6."""

    def __init__(self, task: GenerativeTask) -> None:
        self._task = task
        self._generate = tf.function(
            lambda parameters, z: draw.generate(parameters, z, task, trace=True), autograph=False
        )

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Those of `trainer.model.draw`."""
        return draw.parameter_shapes(self._task)

    def training_noise(self, step: tf.Tensor, rows: int) -> tf.Tensor:
        """[T, rows, Z]."""
        return randomness.training_noise(self._task, step, rows)

    def evaluation_noise(self, ids: tf.Tensor) -> tf.Tensor:
        """[T, n, Z], the noise by which `score_examples` scores these examples."""
        return randomness.row_noise(self._task, randomness.seeds_for_ids(ids))

    def figures(
        self, parameters: Parameters, batch: tf.Tensor, noise: tf.Tensor, scan: Scan = recurrence.scan
    ) -> BoundFigures:
        """By one sample of z."""
        inference = draw.infer(parameters, batch, noise, self._task, scan=scan)
        return BoundFigures(inference.nll_bound, inference.reconstruction, tf.transpose(inference.kl))

    def zero(self) -> BoundFigures:
        """The KL has a value a time-step."""
        return BoundFigures(tf.zeros([]), tf.zeros([]), tf.zeros([self._task.glimpses]))

    def training_text(self, figures: BoundFigures) -> str:
        """Bound and KL."""
        return f"train {float(figures.nll_bound):6.2f} nats (KL {np.sum(figures.kl_per_step):.2f})"

    def validation_text(self, figures: BoundFigures) -> str:
        """The bound."""
        return f"{figures.nll_bound:.2f} nats"

    def scalars(self, figures: BoundFigures) -> dict[str, float]:
        """The bound and its two terms."""
        return {
            "nll_bound": float(figures.nll_bound),
            "reconstruction": float(figures.reconstruction),
            "kl": float(np.sum(figures.kl_per_step)),
        }

    def validation_details(self, figures: BoundFigures) -> dict[str, float]:
        """The KL of each time-step."""
        return {f"validation_kl_by_step/{t:03d}": kl for t, kl in enumerate(figures.kl_per_step, start=1)}

    def pictures(self, parameters: Parameters, batch: tf.Tensor) -> dict[str, np.ndarray]:
        """`samples` from the prior, of the same z each time, and `drawings`: how the first of them come about."""
        del batch
        generation = self._generate(parameters, randomness.sample_noise(self._task, _SAMPLES))
        images = tf.sigmoid(generation.canvas).numpy().reshape(-1, _SAMPLE_COLUMNS, *self._task.image_shape)
        steps = pictures.some_steps(self._task.glimpses)
        canvases = tf.sigmoid(generation.canvases).numpy()[steps, :_ROWS].swapaxes(0, 1)
        if not isinstance(self._task.attention, Attention):
            return {"samples": pictures.sheet(images), "drawings": pictures.sheet(canvases)}
        windows = generation.write_windows.numpy()[steps, :_ROWS].swapaxes(0, 1)
        drawings = pictures.sheet(canvases, windows, filters=self._task.attention.write)
        return {"samples": pictures.sheet(images), "drawings": drawings}

    def warning(self, figures: BoundFigures, done: int) -> str | None:
        """Of a posterior that has collapsed onto the prior."""
        kl = sum(figures.kl_per_step)
        if done <= max(_COLLAPSED_STEPS, self._task.recipe.warmup_steps) or kl >= _COLLAPSED_NATS:
            return None
        return (
            f"At step {done:,} the KL is {kl:.2f} nats: the posterior has collapsed onto the prior and the latent "
            "variables carry nothing. Try a lower learning rate, more glimpses or a larger read window."
        )


class ErrorObjective(Objective):
    """The classifier learns to name the label. A batch is the images and their labels; there is no noise."""

    def __init__(self, task: ClassifyingTask) -> None:
        self._task = task
        self._classify = tf.function(
            lambda parameters, x: ram.classify(parameters, x, task, trace=True), autograph=False
        )

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Those of `trainer.model.ram`."""
        return ram.parameter_shapes(self._task)

    def initial_parameters(self, seed: int) -> dict[str, np.ndarray]:
        """The first window's filters reach each other: their standard deviation is half the stride.

        With a variance of 1 they would miss most pixels, for the stride of 12 filters over 100 pixels is 9; then the
        classifier does not learn to look.
        """
        rows, columns, _ = self._task.image_shape
        stride = (max(rows, columns) - 1) / (self._task.read - 1)
        values = super().initial_parameters(seed)
        values[f"{attention.HEAD}/b"][2] = 2 * np.log(stride / 2)
        return values

    def training_noise(self, step: tf.Tensor, rows: int) -> tuple[()]:
        """None."""
        del step, rows
        return ()

    def evaluation_noise(self, ids: tf.Tensor) -> tuple[()]:
        """None."""
        del ids
        return ()

    def figures(
        self,
        parameters: Parameters,
        batch: tuple[tf.Tensor, tf.Tensor],
        noise: tuple[()],
        scan: Scan = recurrence.scan,
    ) -> ErrorFigures:
        """The cross-entropy is taken from the logits."""
        del noise
        x, labels = batch
        logits = ram.classify(parameters, x, self._task, scan=scan).logits
        wrong = tf.not_equal(tf.argmax(logits, axis=1, output_type=labels.dtype), labels)
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        return ErrorFigures(cross_entropy, tf.cast(wrong, logits.dtype))

    def zero(self) -> ErrorFigures:
        """Two numbers."""
        return ErrorFigures(tf.zeros([]), tf.zeros([]))

    def training_text(self, figures: ErrorFigures) -> str:
        """Error and loss."""
        return f"train error {float(figures.error):6.2%} (loss {float(figures.cross_entropy):.3f})"

    def validation_text(self, figures: ErrorFigures) -> str:
        """The error."""
        return f"error {figures.error:.2%}"

    def scalars(self, figures: ErrorFigures) -> dict[str, float]:
        """Both."""
        return {"cross_entropy": float(figures.cross_entropy), "error": float(figures.error)}

    def pictures(self, parameters: Parameters, batch: tuple[tf.Tensor, tf.Tensor]) -> dict[str, np.ndarray]:
        """`glimpses`: a row an image, with the window of each step."""
        x = batch[0][:_ROWS]
        steps = pictures.some_steps(self._task.glimpses)
        windows = self._classify(parameters, x).windows.numpy()[steps].swapaxes(0, 1)
        images = x.numpy()[:, None].repeat(len(steps), axis=1)
        return {"glimpses": pictures.sheet(images, windows, filters=self._task.read)}


def of(task: Task) -> Objective:
    """The objective of a task, by its kind."""
    if isinstance(task, ClassifyingTask):
        return ErrorObjective(task)
    if isinstance(task, GenerativeTask):
        return BoundObjective(task)
    raise TypeError(f"{task.name} is a {type(task).__name__}; expected a GenerativeTask or a ClassifyingTask.")
