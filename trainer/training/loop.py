"""The outer training loop: resume, call the compiled steps, validate, checkpoint and report."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

import numpy as np
import tensorflow as tf

from trainer.task import Task
from trainer.training import checkpoints, cluster, devices, initial_weights, input_pipeline, objective, step, summaries

_CALL_SECONDS = 2.0
"""Target duration of one call into the compiled loop: how soon an interrupt or a NaN is noticed."""

_REPORT_SECONDS = 10
"""Time between two lines of progress."""

_LOG = logging.getLogger(__name__)


TERMINATED = 128 + signal.SIGTERM
"""Exit status after SIGTERM, which first saves a checkpoint."""


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
    shorter_training: str | None = None,
    check_owner: Callable[[], None] = lambda: None,
    strategy: tf.distribute.Strategy | None = None,
) -> dict[str, np.ndarray]:
    """Train the task, or what is left of it, and return the weights to export.

    `directory` keeps the checkpoints and, in `logs`, the TensorBoard summaries. A run that was killed at any moment
    resumes from the last checkpoint and ends with the weights of an uninterrupted run, for a batch and its noise follow
    from the step alone. SIGTERM saves a checkpoint and raises SystemExit, within a call's seconds.

    A run without checkpoints starts from the last one in the folder `shorter_training`, of the same training with
    fewer steps, or from `initial_state`, see `initial_weights.load`. `report` gets a line of progress now and then.
    `check_owner` raises where `directory` is no longer this process's to write to. `strategy` defaults to
    `devices.strategy()`.

    In a cluster only the chief reads a state, validates and writes; only the chief uses `directory` and
    `validation_files`. All workers need the same task and training files.

    Raises TrainingDiverged with what to try, and ValueError for files without examples, a state that does not fit, or
    checkpoints none of which can be read.
    """
    strategy = strategy or devices.strategy()
    trainer = step.Trainer(task, strategy)
    progress = _Progress(task, report)
    chief = None
    if cluster.is_chief(strategy):
        chief = _Chief(trainer, validation_files, directory, progress, check_owner)
        if start := chief.resume(shorter_training, initial_state):
            report(start)
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
    with _noticing_sigterm() if chief else contextlib.nullcontext(threading.Event()) as terminated:
        while done < task.recipe.steps:
            # All workers take the chief's number of steps, and wait here while it validates.
            steps = int(cluster.from_chief(strategy, steps))
            trainer = trainer.at(done)
            call = _call(trainer, batches, done, min(steps, _next_stop(task, done) - done))
            done = call.done
            steps = max(1, min(2 * steps, round(call.steps * _CALL_SECONDS / call.seconds)))
            progress.after_call(trainer, call)
            # Looked at once: a SIGTERM while the chief writes is for the next call, or nothing would be saved for it.
            is_last = terminated.is_set()
            if chief:
                chief.after_call(trainer, call, last=is_last)
            if is_last:
                report(f"SIGTERM: step {done:,} of {task.recipe.steps:,} is saved; the same run goes on from there")
                raise SystemExit(TERMINATED)
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


@contextlib.contextmanager
def _noticing_sigterm() -> Iterator[threading.Event]:
    """Sets the event at a SIGTERM, in place of ending; only the main thread can be told of signals."""
    noticed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noticed
        return

    def notice(number: int, frame: FrameType | None) -> None:
        noticed.set()

    previous = signal.signal(signal.SIGTERM, notice)
    try:
        yield noticed
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Chief:
    """What only the chief does: resume, validate, save checkpoints and write summaries."""

    def __init__(
        self,
        trainer: step.Trainer,
        validation_files: Sequence[str],
        directory: str,
        progress: _Progress,
        check_owner: Callable[[], None],
    ) -> None:
        recipe = trainer.task.recipe
        self._recipe, self._state, self._progress, self._check_owner = recipe, trainer.state, progress, check_owner
        self._batches = input_pipeline.evaluation_batches(validation_files, trainer.task, recipe.validation_examples)
        self._checkpoints = checkpoints.Checkpoints(directory, trainer.state)
        self._summaries = summaries.Summaries(os.path.join(directory, "logs"), self._batches[0][0])
        self._saved = time.monotonic()

    def resume(self, shorter_training: str | None, initial_state: str | None) -> str | None:
        """Load where to start, and return it in words; None for a fresh start."""
        if path := self._checkpoints.restore():
            return f"resuming at {self._steps()} from {path}"
        if shorter_training and (newest := checkpoints.read_newest(shorter_training)):
            path, arrays = newest
            self._state.load(arrays)
            return (
                f"continuing at {self._steps()} from {path}, the end of a shorter training. From here on the learning "
                "rate is that of the longer one, so the weights are not those of a training without a stop."
            )
        if not initial_state:
            return None
        initial_weights.load(self._state, initial_state)
        if 0 < self._recipe.steps <= self._state.step.numpy():
            return (
                f"nothing is left to train: {initial_state} is a training's state, at {self._steps()}. To go on from "
                "its weights, export them first, with 0 steps, and start from that model."
            )
        return f"{f'resuming at {self._steps()}' if self._state.step.numpy() else 'starting'} from {initial_state}"

    def _steps(self) -> str:
        return f"step {self._state.step.numpy():,} of {self._recipe.steps:,}"

    def after_call(self, trainer: step.Trainer, call: _Call, *, last: bool) -> None:
        """Write summaries, validate and save a checkpoint when it is time to; save if it is the `last` call here."""
        recipe, done = self._recipe, call.done
        self._summaries.trained(trainer, call.metrics, done, call.steps * recipe.batch_size / call.seconds)
        ends = done == recipe.steps
        if ends or done % recipe.validation_interval == 0:
            # The last with the glimpses of the exported model, which a short training may not have reached.
            trainer = trainer.at(done) if ends else trainer
            self._summaries.validated(trainer, self.validate(trainer, done), done)
        if ends or last or time.monotonic() - self._saved > recipe.checkpoint_seconds:
            self._check_owner()
            self._checkpoints.save(done)
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
        """Glimpses a second of one row of the batch, which is much the same for any T; 0 until one was measured."""
        self._compiled: set[int] = set()
        """Numbers of glimpses with which a call has been made."""
        self.validation = ""
        """The last validation, in words."""

    def after_call(self, trainer: step.Trainer, call: _Call) -> None:
        """Take the call's rate, and report a line when it is time to."""
        rate = call.steps * trainer.glimpses / call.seconds
        # The first call compiles: its rate says nothing.
        if trainer.glimpses in self._compiled:
            self._rate = rate if call.steps == 1 or not self._rate else 0.8 * self._rate + 0.2 * rate
        self._compiled.add(trainer.glimpses)
        if time.monotonic() - self._reported < _REPORT_SECONDS:
            return
        self._reported = time.monotonic()
        recipe = self._task.recipe
        parts = [
            f"step {call.done:,}/{recipe.steps:,}",
            trainer.objective.training_text(call.metrics.means),
            self.validation,
        ]
        if self._rate:
            glimpses = self._task.glimpses_before(recipe.steps) - self._task.glimpses_before(call.done)
            left = round(glimpses / self._rate)
            parts += [
                f"{self._rate / trainer.glimpses * recipe.batch_size:,.0f} examples/s",
                f"{left / 60:.0f} min left" if left >= 90 else f"{left} s left",
            ]
        self._report("  ".join(part for part in parts if part))

    def finish(self, done: int) -> None:
        """Report the last line."""
        self._report(f"step {done:,}/{self._task.recipe.steps:,}  {self.validation}")


def _check_finite(done: int, metrics: Mapping[str, float]) -> None:
    if not all(map(math.isfinite, metrics.values())):
        values = ", ".join(f"{name} {value}" for name, value in metrics.items())
        raise TrainingDiverged(
            f"Training diverged by step {done:,}: {values}. Try a lower learning_rate, a longer warm-up or a smaller "
            "clip_norm in the task's recipe. Running again would go on from the last checkpoint and meet the same "
            "numbers."
        )
