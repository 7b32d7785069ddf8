"""The outer training loop: resume, call the compiled steps, validate, checkpoint and report."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from trainer.task import Task
from trainer.training import cluster, devices, initial_weights, input_pipeline, objective, step, summaries

_CALL_SECONDS = 2.0
"""Target duration of one call into the compiled loop: how soon an interrupt or a NaN is noticed."""

_REPORT_SECONDS = 10
"""Time between two lines of progress."""

_LOG = logging.getLogger(__name__)


class TrainingDiverged(RuntimeError):
    """The loss or a gradient is no longer finite. The checkpoints on disk are older and sound."""


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
    """Train the task, or what is left of it, and return the weights to export.

    `directory` keeps the checkpoints and, in `logs`, the TensorBoard summaries. A run that was killed at any moment
    resumes from the last checkpoint and ends with the weights of an uninterrupted run, for a batch and its noise follow
    from the step alone. `initial_state` is where a run without checkpoints starts, see `initial_weights.load`. `report`
    gets a line of progress now and then. `strategy` defaults to `devices.strategy()`.

    In a cluster only the chief reads a state, validates and writes; only the chief uses `directory` and
    `validation_files`. All workers need the same task and training files.

    Raises TrainingDiverged with what to try, and ValueError for files without examples, a state that does not fit, or
    a worker that was started for something else.
    """
    strategy = strategy or devices.strategy()
    trainer = step.Trainer(task, strategy)
    _check_same_job(strategy, task, train_files)
    progress = _Progress(task, report)
    chief = _Chief(trainer, validation_files, directory, progress) if cluster.is_chief(strategy) else None
    if chief and (source := chief.resume(initial_state)):
        done = int(trainer.state.step.numpy())
        start = f"resuming at step {done:,} of {task.recipe.steps:,}" if done else "starting"
        report(f"{start} from {source}")
    if cluster.is_cluster(strategy):
        # What the chief resumed, not what another worker may see of its files.
        trainer.state.load(cluster.from_chief(strategy, trainer.state.arrays()))
    done = int(trainer.state.step.numpy())
    batches = iter(
        strategy.distribute_datasets_from_function(
            lambda context: input_pipeline.training_batches(train_files, task, first_step=done, context=context)
        )
    )
    steps = 1
    while done < task.recipe.steps:
        # All workers take the chief's number of steps, and wait here while it validates.
        steps = int(cluster.from_chief(strategy, steps))
        trainer = trainer.at(done)
        call = _call(trainer, batches, done, min(steps, _next_stop(task, done) - done))
        done = call.done
        steps = max(1, min(2 * steps, round(call.steps * _CALL_SECONDS / call.seconds)))
        progress.after_call(trainer, call)
        if chief:
            chief.after_call(trainer, call)
    if chief and not progress.validation:  # Nothing was left to train.
        chief.validate(trainer.at(done), done)
    progress.finish(done)
    return {name: value.numpy() for name, value in trainer.state.exported(task).items()}


@dataclasses.dataclass(frozen=True)
class _Call:
    """One call into the compiled loop: the step it reached, how many it ran, how long that took, and their means."""

    done: int
    steps: int
    seconds: float
    metrics: step.StepMetrics


def _call(trainer: step.Trainer, batches: Iterator[input_pipeline.Batch], done: int, steps: int) -> _Call:
    """Run `steps` steps from step `done`; raises TrainingDiverged."""
    started = time.monotonic()
    metrics = trainer.train(batches, steps)
    loss = metrics.means._fields[0]
    _check_finite(done + steps, {loss: float(metrics.loss), "gradient_norm": float(metrics.gradient_norm)})
    return _Call(done + steps, steps, time.monotonic() - started, metrics)


def _next_stop(task: Task, done: int) -> int:
    """The step at which a call from `done` must end: for validation, for another number of glimpses, or for good.

    Validation falls on the same steps whether or not the run was interrupted.
    """
    interval = task.recipe.validation_interval
    phases = [first for first, _ in task.glimpse_phases if first > done]
    return min(task.recipe.steps, done - done % interval + interval, *phases)


class _Chief:
    """What only the chief does: resume, validate, save checkpoints and write summaries."""

    def __init__(
        self, trainer: step.Trainer, validation_files: Sequence[str], directory: str, progress: _Progress
    ) -> None:
        recipe = trainer.task.recipe
        self._recipe, self._state, self._progress = recipe, trainer.state, progress
        self._batches = input_pipeline.evaluation_batches(validation_files, trainer.task, recipe.validation_examples)
        checkpoint = tf.train.Checkpoint(state=trainer.state)
        self._manager = tf.train.CheckpointManager(checkpoint, directory, max_to_keep=2)
        self._summaries = summaries.Summaries(os.path.join(directory, "logs"), self._batches[0][0])
        self._saved = time.monotonic()

    def resume(self, initial_state: str | None) -> str | None:
        """Load the last checkpoint, else the initial state, and return its path; None for a fresh start."""
        self._manager.restore_or_initialize()
        if self._manager.latest_checkpoint or not initial_state:
            return self._manager.latest_checkpoint
        initial_weights.load(self._state, initial_state)
        return initial_state

    def after_call(self, trainer: step.Trainer, call: _Call) -> None:
        """Write summaries, and validate and save a checkpoint when it is time to."""
        recipe, done = self._recipe, call.done
        self._summaries.trained(trainer, call.metrics, done, call.steps * recipe.batch_size / call.seconds)
        last = done == recipe.steps
        if last or done % recipe.validation_interval == 0:
            # The last with the glimpses of the exported model, which a short training may not have reached.
            trainer = trainer.at(done) if last else trainer
            self._summaries.validated(trainer, self.validate(trainer, done), done)
        if last or time.monotonic() - self._saved > recipe.checkpoint_seconds:
            self._manager.save(checkpoint_number=done)
            self._saved = time.monotonic()

    def validate(self, trainer: step.Trainer, done: int) -> objective.Metrics:
        """Validate the weights that would be exported; raises TrainingDiverged."""
        metrics = trainer.validate(self._batches)
        # A step's own metrics are those of the weights before it: only this sees what the last step left.
        _check_finite(done, {f"validation_{metrics._fields[0]}": metrics[0]})
        self._progress.validation = f"validation {trainer.objective.validation_text(metrics)} at {done:,}"
        if warning := trainer.objective.warning(metrics, done):
            _LOG.warning(warning)
        return metrics


class _Progress:
    """Lines of progress: steps, the loss, examples a second, and the time that is left."""

    def __init__(self, task: Task, report: Callable[[str], None]) -> None:
        self._task, self._report = task, report
        self._reported = time.monotonic()
        self._rate = 0.0
        """Glimpses a second of one row of the batch, which is much the same for any T."""
        self.validation = ""
        """The last validation, in words."""

    def after_call(self, trainer: step.Trainer, call: _Call) -> None:
        """Take the call's rate, and report a line when it is time to."""
        rate = call.steps * trainer.glimpses / call.seconds
        # The first call compiles: its rate says nothing.
        self._rate = rate if call.steps == 1 or not self._rate else 0.8 * self._rate + 0.2 * rate
        if time.monotonic() - self._reported < _REPORT_SECONDS:
            return
        self._reported = time.monotonic()
        recipe = self._task.recipe
        left = (self._task.glimpses_before(recipe.steps) - self._task.glimpses_before(call.done)) / self._rate
        parts = [
            f"step {call.done:,}/{recipe.steps:,}",
            trainer.objective.training_text(call.metrics.means),
            self.validation,
            f"{self._rate / trainer.glimpses * recipe.batch_size:,.0f} examples/s",
            f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left",
        ]
        self._report("  ".join(part for part in parts if part))

    def finish(self, done: int) -> None:
        """Report the last line."""
        self._report(f"step {done:,}/{self._task.recipe.steps:,}  {self.validation}")


def _check_same_job(strategy: tf.distribute.Strategy, task: Task, files: Sequence[str]) -> None:
    """Raise ValueError on a worker of another job than the chief's, which would wait for the others or disturb them."""
    job = "\n".join([task.to_json(), *sorted(os.path.basename(path) for path in files)])
    digest = int.from_bytes(hashlib.sha256(job.encode()).digest()[:8], "big", signed=True)
    if digest != cluster.from_chief(strategy, np.int64(digest)):
        raise ValueError("This worker was started for another task, or with other training files, than the chief.")


def _check_finite(done: int, metrics: Mapping[str, float]) -> None:
    if not all(map(math.isfinite, metrics.values())):
        values = ", ".join(f"{name} {value}" for name, value in metrics.items())
        raise TrainingDiverged(
            f"Training diverged by step {done:,}: {values}. Try a lower learning_rate, a longer warm-up or a smaller "
            "clip_norm in the task's recipe. Running again would go on from the last checkpoint and meet the same "
            "numbers."
        )
