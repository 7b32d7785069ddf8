"""The outer loop: resume, train, validate, checkpoint and report, around the compiled steps."""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from trainer.task import Task
from trainer.training import cluster, devices, input_pipeline, objective, step, summaries

_CALL_SECONDS = 2.0
"""About how long one call into the compiled loop may take: how soon an interrupt or a NaN is seen."""

_LOG = logging.getLogger(__name__)


class TrainingDiverged(RuntimeError):
    """The bound or a gradient is no longer finite. The checkpoints on disk are older and sound."""


def train(
    task: Task,
    *,
    train_files: Sequence[str],
    validation_files: Sequence[str],
    directory: str,
    report: Callable[[str], None],
    initial_state: str | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> dict[str, np.ndarray]:
    """Trains the task, or what is left of it, and returns the weights to export.

    `directory` keeps the checkpoints and the TensorBoard summaries (`directory`/logs). A run that was killed at any
    moment goes on from the last checkpoint and ends with the weights of an uninterrupted run: a batch and its noise
    follow from the step alone. `initial_state`, an .npz of `TrainState.arrays`, is where a run without checkpoints
    begins: a state that was trained elsewhere. `report` is given a line of progress now and then. `strategy` is by
    default what `devices.strategy` finds.

    Of the workers of a cluster the chief alone reads a state, validates and writes: `directory` and the validation
    files are none of the others' business. All are given the same task and training files.

    Raises TrainingDiverged with what to try, and ValueError for files without examples, a state that does not fit, or
    a worker that was started for something else.
    """
    recipe = task.recipe
    strategy = strategy or devices.strategy()
    chief = cluster.is_chief(strategy)
    trainer = step.Trainer(task, strategy)
    _check_same_job(strategy, task, train_files)
    if chief:
        validation = input_pipeline.evaluation_batches(validation_files, task, recipe.validation_examples)
        manager = tf.train.CheckpointManager(tf.train.Checkpoint(state=trainer.state), directory, max_to_keep=2)
        manager.restore_or_initialize()
        resumed_from = manager.latest_checkpoint
        if not resumed_from and initial_state:
            _load(trainer.state, initial_state)
            resumed_from = initial_state
        if resumed_from:
            report(f"resuming at step {int(trainer.state.step.numpy()):,} of {recipe.steps:,} from {resumed_from}")
        writer = summaries.Summaries(os.path.join(directory, "logs"), validation[0][0])
    if cluster.is_cluster(strategy):
        # What the chief resumed, not what another worker may see of its files.
        trainer.state.load(cluster.from_chief(strategy, trainer.state.arrays()))
    done = int(trainer.state.step.numpy())
    batches = iter(
        trainer.strategy.distribute_datasets_from_function(
            lambda context: input_pipeline.training_batches(train_files, task, first_step=done, context=context)
        )
    )
    progress = _Progress(task, done, report)
    saved = time.monotonic()
    call = 1
    while done < recipe.steps:
        # The workers take the same steps a call, whoever was quicker; and here they wait for the chief's validation.
        call = int(cluster.from_chief(strategy, call))
        started = time.monotonic()
        # Validation falls on the same steps whether or not the run was interrupted.
        next_phases = [first for first, _ in task.glimpse_phases if first > done]
        until = min(recipe.steps, done - done % recipe.validation_interval + recipe.validation_interval, *next_phases)
        count = min(call, until - done)
        trainer = trainer.at(done)
        metrics = trainer.train(batches, count)
        done += count
        name = metrics.means._fields[0]
        _check_finite(done, **{name: float(metrics.loss), "gradient_norm": float(metrics.gradient_norm)})
        seconds = time.monotonic() - started
        call = max(1, min(2 * call, round(count * _CALL_SECONDS / seconds)))
        progress.trained(trainer, metrics, done, count, seconds)
        if not chief:
            continue
        writer.trained(trainer, metrics, done, count * recipe.batch_size / seconds)
        if done % recipe.validation_interval == 0 or done == recipe.steps:
            validated = trainer.validate(validation)
            # A step's metrics are those of the weights before it: only this sees what the last one left.
            _check_finite(done, **{f"validation_{name}": validated[0]})
            progress.validated(trainer, validated, done)
            writer.validated(trainer, validated, done)
            if warning := trainer.objective.warning(validated, done):
                _LOG.warning(warning)
        if done == recipe.steps or time.monotonic() - saved > recipe.checkpoint_seconds:
            manager.save(checkpoint_number=done)
            saved = time.monotonic()
    if chief and not progress.validation:
        trainer = trainer.at(done)
        progress.validated(trainer, trainer.validate(validation), done)
    progress.finished()
    return {name: value.numpy() for name, value in trainer.state.exported(task).items()}


def _check_same_job(strategy: tf.distribute.Strategy, task: Task, files: Sequence[str]) -> None:
    """Workers of two jobs would wait for one another, or train something in between."""
    described = "\n".join([task.to_json(), *sorted(os.path.basename(path) for path in files)])
    own = int.from_bytes(hashlib.sha256(described.encode()).digest()[:8], "big", signed=True)
    if own != cluster.from_chief(strategy, np.int64(own)):
        raise ValueError("This worker was started for another task, or with other training files, than the chief.")


def _load(state: step.TrainState, path: str) -> None:
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            arrays = np.load(io.BytesIO(file.read()))
        if not isinstance(arrays, Mapping):
            raise ValueError("it is not an .npz file.")
        state.load(dict(arrays))
    except (tf.errors.OpError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"Cannot go on from {path}: {error}") from error


class _Progress:
    """Lines for a person: steps, the loss, examples a second, and the time that is left."""

    def __init__(self, task: Task, done: int, report: Callable[[str], None]) -> None:
        self._task, self._report, self._done = task, report, done
        self._reported = time.monotonic()
        self._rate = 0.0  # glimpses a second of a place in the batch, which is much the same for any T
        self.validation = ""

    def trained(self, trainer: step.Trainer, metrics: step.StepMetrics, done: int, count: int, seconds: float) -> None:
        # The first call compiles: its rate says nothing.
        rate = count * trainer.glimpses / seconds
        self._rate = rate if count == 1 or not self._rate else 0.8 * self._rate + 0.2 * rate
        self._done = done
        if time.monotonic() - self._reported >= 10:
            self._line(trainer, metrics)

    def validated(self, trainer: step.Trainer, metrics: objective.Metrics, done: int) -> None:
        self.validation = f"validation {trainer.objective.validation_text(metrics)} at {done:,}"

    def finished(self) -> None:
        self._report(f"step {self._done:,}/{self._task.recipe.steps:,}  {self.validation}")

    def _line(self, trainer: step.Trainer, metrics: step.StepMetrics) -> None:
        recipe = self._task.recipe
        left = (self._task.glimpses_before(recipe.steps) - self._task.glimpses_before(self._done)) / self._rate
        parts = [
            f"step {self._done:,}/{recipe.steps:,}",
            trainer.objective.training_text(metrics.means),
            self.validation,
            f"{self._rate / trainer.glimpses * recipe.batch_size:,.0f} examples/s",
            f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left",
        ]
        self._report("  ".join(part for part in parts if part))
        self._reported = time.monotonic()


def _check_finite(done: int, **values: float) -> None:
    if not all(math.isfinite(value) for value in values.values()):
        found = ", ".join(f"{name} {value}" for name, value in values.items())
        raise TrainingDiverged(
            f"Training diverged by step {done:,}: {found}. Try a lower learning_rate, a longer warm-up or a smaller "
            "clip_norm in the task's recipe. Running again would go on from the last checkpoint and meet the same "
            "numbers."
        )
