"""TensorBoard's view of a run: scalars after each call, and pictures of what the model makes of its images."""

from __future__ import annotations

import tensorflow as tf

from serving.pictures.sheet import sheet
from trainer.training import objective, optimizer, step


class Summaries:
    """Writes the event files of one run."""

    def __init__(self, directory: str, watched: objective.Tensors) -> None:
        """`watched` is the batch of validation images that the pictures may show."""
        self._watched = watched
        self._writer = tf.summary.create_file_writer(directory)

    def trained(self, trainer: step.Trainer, metrics: step.StepMetrics, done: int, examples_per_second: float) -> None:
        """Writes the means of a call that ended at step `done`."""
        with self._writer.as_default(step=done):
            for name, value in trainer.objective.scalars(metrics.means).items():
                tf.summary.scalar(f"train/{name}", value)
            tf.summary.scalar("train/gradient_norm", metrics.gradient_norm)
            tf.summary.scalar("train/learning_rate", optimizer.learning_rate(trainer.task, tf.constant(done)))
            tf.summary.scalar("train/glimpses", trainer.glimpses)
            tf.summary.scalar("train/examples_per_second", examples_per_second)

    def validated(self, trainer: step.Trainer, metrics: objective.Metrics, done: int) -> None:
        """Writes the validation metrics of step `done`, and the pictures of the weights that would be exported."""
        with self._writer.as_default(step=done):
            for name, value in trainer.objective.scalars(metrics).items():
                tf.summary.scalar(f"validation/{name}", value)
            for name, value in trainer.objective.validation_details(metrics).items():
                tf.summary.scalar(name, value)
            weights = trainer.state.exported(trainer.task)
            for name, (images, windows, N) in trainer.objective.sheets(weights, self._watched).items():
                tf.summary.image(name, sheet(images, windows, filters=N)[None])
        self._writer.flush()
