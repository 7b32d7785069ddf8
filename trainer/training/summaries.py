"""A run's curves and pictures: scalars after each call, and what the model makes of its images.

They go to TensorBoard, and the scalars also to MLflow where that is set up.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from serving.pictures.sheet import sheet
from trainer.training import objective, optimizer, step
from trainer.training.mlflow_curves import MlflowCurves


class Summaries:
    """Writes the event files of one run."""

    def __init__(self, directory: str, watched: objective.Tensors) -> None:
        """`watched` is the batch of validation images that the pictures may show."""
        self._watched = watched
        self._writer = tf.summary.create_file_writer(directory)
        self._mlflow = MlflowCurves.from_environment()

    def trained(self, trainer: step.Trainer, metrics: step.StepMetrics, done: int, examples_per_second: float) -> None:
        """Writes the means of a call that ended at step `done`."""
        scalars = {
            **trainer.objective.scalars(metrics.means),
            "gradient_norm": float(metrics.gradient_norm),
            "learning_rate": float(optimizer.learning_rate(trainer.task, tf.constant(done))),
            "glimpses": float(trainer.glimpses),
            "examples_per_second": examples_per_second,
        }
        self._write({f"train/{name}": value for name, value in scalars.items()}, done)

    def validated(self, trainer: step.Trainer, metrics: objective.Metrics, done: int) -> None:
        """Writes the validation metrics of step `done`, and the pictures of the weights that would be exported."""
        scalars = {f"validation/{name}": value for name, value in trainer.objective.scalars(metrics).items()}
        self._write({**scalars, **trainer.objective.validation_details(metrics)}, done, is_validation=True)
        with self._writer.as_default(step=done):
            weights = trainer.state.exported(trainer.task)
            for name, (images, windows, N) in trainer.objective.sheets(weights, self._watched).items():
                tf.summary.image(name, sheet(images, windows, filters=N)[None])
        self._writer.flush()

    def _write(self, scalars: Mapping[str, float], done: int, *, is_validation: bool = False) -> None:
        with self._writer.as_default(step=done):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)
        if self._mlflow:
            self._mlflow.log(scalars, done, now=is_validation)
