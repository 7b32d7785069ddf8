"""One training job, from examples to an exported model, as every worker runs it, with TFX or without."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from trainer import folder_lock
from trainer.export import exporter
from trainer.task import Task
from trainer.training import checkpoints, cluster, devices, loop

Complete = Callable[[str, Sequence[str]], None]
"""Takes the folder of a new SavedModel and the files of the validation split."""

ABANDONED_DAYS = 30
"""Temporary checkpoints that nobody has written for so long, and nobody holds, are removed."""

_INPUTS_FILE = "inputs.json"
_PARTIAL_FILE = "partial_export.txt"

_LOG = logging.getLogger(__name__)


def run(
    task: Task,
    *,
    train_patterns: Sequence[str],
    validation_patterns: Sequence[str],
    checkpoint_root: str,
    model_dir: str,
    report: Callable[[str], None],
    initial_state: Mapping[str, str] | None = None,
    logs_dir: str | None = None,
    complete: Complete | None = None,
) -> bool:
    """Train the task on the files that match and export it to `model_dir`, which appears only when complete.

    `initial_state` is where to start, see `loop.train`: a file's `path` and its `sha256`. A pattern may be a folder.
    Checkpoints and summaries live below `checkpoint_root`, in a folder named after the content of the task, the
    training files and that state, wherever they lie, so that only a run with the same inputs resumes it. One process
    at a time has that folder.

    With `logs_dir` the checkpoints are temporary: the summaries go there when the model is written, the folder is
    removed, and so are others whose training will not come back (ABANDONED_DAYS). A second process with the same inputs
    then waits for the first. Without it they are kept, a training with more steps and else the same inputs continues
    from where they end, and a second process is refused.

    `complete` adds to the SavedModel before it appears in `model_dir`. Where it raises, the checkpoints stay.

    Returns whether this is the chief. No worker returns before the model is written. Raises what `loop.train` raises,
    ValueError for patterns that match nothing and for a worker that was started for something else,
    folder_lock.FolderHeld and FolderLost, and cluster.WorkerLost.
    """
    devices.configure_threads()
    train_files = _matching_files(train_patterns)
    inputs = _Inputs(
        task=task.to_json(),
        examples=_content_hash(train_files),
        initial_state=initial_state["sha256"] if initial_state else None,
    )
    directory = os.path.join(checkpoint_root, inputs.key)
    strategy = devices.strategy(report)
    with cluster.translate_losses(strategy):
        _check_same_job(strategy, inputs)
        if not cluster.is_chief(strategy):
            loop.train(
                task,
                strategy=strategy,
                train_files=train_files,
                validation_files=(),
                directory=directory,
                report=report,
            )
            cluster.end_together(strategy)
            return False
        validation_files = _matching_files(validation_patterns)
        # A run's next attempt waits until the one before has saved and ended, another run until this one has its model.
        with folder_lock.hold(directory, "training", wait=logs_dir is not None, report=report) as hold:
            partial = _prepare_export(model_dir, directory)
            shorter = None
            if not checkpoints.paths(directory):
                others = _other_trainings(checkpoint_root, inputs)
                shorter = None if logs_dir else _shorter_training(others, inputs)
                if others and not shorter and not logs_dir:
                    report(f"starting anew, for {checkpoint_root} holds {_difference(others[0].inputs, inputs)}")
            inputs.write(directory)
            weights = loop.train(
                task,
                strategy=strategy,
                train_files=train_files,
                validation_files=validation_files,
                directory=directory,
                initial_state=initial_state["path"] if initial_state else None,
                shorter_training=shorter,
                check_owner=hold.check,
                report=report,
            )
            exporter.export(task, weights, partial)
            if complete is not None:
                complete(partial, validation_files)
            hold.check()
            tf.io.gfile.rename(partial, model_dir, overwrite=True)
            if logs_dir:
                _copy(os.path.join(directory, "logs"), logs_dir)
                _remove_training(directory)
                _remove_abandoned(checkpoint_root)
        cluster.end_together(strategy)
    return True


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """What decides the weights of a training."""

    task: str
    """As JSON."""
    examples: str
    """Hash of the training files' content."""
    initial_state: str | None
    """Hash of where it starts."""

    @property
    def key(self) -> str:
        """Name of the training's folder, in which a place, a title or a gate has no part."""
        values = json.loads(self.task)
        for name in ("title", "gate", "sources"):
            del values[name]
        values["data"].pop("images", None)  # Where they are; what they are is in the hash of the examples.
        text = json.dumps([values, self.examples, self.initial_state], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def steps(self) -> int:
        return Task.from_json(self.task).recipe.steps

    @property
    def key_of_any_steps(self) -> str:
        """What all trainings share which differ in their length alone."""
        return dataclasses.replace(self, task=Task.from_json(self.task).with_steps(0).to_json()).key

    def write(self, directory: str) -> None:
        """Write them into the training's folder, where a later training reads them."""
        with tf.io.gfile.GFile(os.path.join(directory, _INPUTS_FILE), "w") as file:
            file.write(json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n")


@dataclasses.dataclass(frozen=True)
class _Training:
    directory: str
    inputs: _Inputs
    step: int
    """That of its newest checkpoint."""


def _other_trainings(checkpoint_root: str, inputs: _Inputs) -> list[_Training]:
    """List the trainings with other inputs whose checkpoints lie there, those with the most steps done first."""
    trainings = []
    for directory in _training_folders(checkpoint_root):
        try:
            with tf.io.gfile.GFile(os.path.join(directory, _INPUTS_FILE)) as file:
                other = _Inputs(**json.loads(file.read()))
            newest = checkpoints.paths(directory)
            if other.key != inputs.key and newest:
                trainings.append(_Training(directory, other, checkpoints.step_of(newest[0])))
        except (tf.errors.OpError, ValueError, TypeError, KeyError):
            continue  # Another version's, or damaged: it is nothing to continue from.
    return sorted(trainings, key=lambda training: training.step, reverse=True)


def _shorter_training(others: Sequence[_Training], inputs: _Inputs) -> str | None:
    """The longest finished training that differs in its number of steps alone, and has fewer."""
    for other in others:
        ended = other.step == other.inputs.steps < inputs.steps
        if ended and other.inputs.key_of_any_steps == inputs.key_of_any_steps:
            return other.directory
    return None


def _difference(other: _Inputs, inputs: _Inputs) -> str:
    """Say what differs, in a few words."""
    if other.examples != inputs.examples:
        return "checkpoints of other training files, or of files that have changed since; they stay as they are"
    if other.initial_state != inputs.initial_state:
        return "checkpoints of a training that started from other weights; they stay as they are"
    if other.key_of_any_steps != inputs.key_of_any_steps:
        return "checkpoints of a task with other values; they stay as they are"
    return f"checkpoints of a training of {other.steps:,} steps, which a longer one continues when it is finished"


def _check_same_job(strategy: tf.distribute.Strategy, inputs: _Inputs) -> None:
    """Raise ValueError on a worker of another job than the chief's, which would wait for the others or disturb them."""
    key = np.int64(int(inputs.key, 16) - 2**63)
    if key != cluster.from_chief(strategy, key):
        raise ValueError("This worker was started for another task, or with other training files, than the chief.")


def _prepare_export(model_dir: str, directory: str) -> str:
    """Make the folder that becomes the model, and remove what killed exports of this training have left.

    Made before training, so that a folder that cannot be written to fails early.
    """
    partial, note = f"{model_dir.rstrip('/')}.partial", os.path.join(directory, _PARTIAL_FILE)
    _remove_partial_export(directory)
    if tf.io.gfile.exists(partial):
        tf.io.gfile.rmtree(partial)
    tf.io.gfile.makedirs(partial)
    with tf.io.gfile.GFile(note, "w") as file:
        file.write(partial)
    return partial


def _remove_partial_export(directory: str) -> None:
    note = os.path.join(directory, _PARTIAL_FILE)
    if tf.io.gfile.exists(note):
        with tf.io.gfile.GFile(note) as file:
            left = file.read()
        if left.endswith(".partial") and tf.io.gfile.isdir(left):
            tf.io.gfile.rmtree(left)


def _remove_training(directory: str) -> None:
    """Remove a training's folder, where that is possible: its model is written, and may not be lost over it."""
    try:
        _remove_partial_export(directory)
        if "://" not in directory:
            # In one step: one that waits makes the folder anew as soon as its owner's file is gone.
            root, name = os.path.split(directory)
            removed = os.path.join(root, f"{name[:16]}.removed-{uuid.uuid4().hex[:8]}")
            os.rename(directory, removed)
            directory = removed
        tf.io.gfile.rmtree(directory)
    except (OSError, tf.errors.OpError) as error:
        _LOG.warning("Could not remove %s: %s", directory, error)


def _remove_abandoned(checkpoint_root: str) -> None:
    """Remove the folders of trainings that will not come back."""
    oldest = time.time() - ABANDONED_DAYS * 24 * 3600
    for directory in _training_folders(checkpoint_root, r"[0-9a-f]{16}(\.removed-[0-9a-f]{8})?"):
        try:
            files = [os.path.join(place, name) for place, _, names in tf.io.gfile.walk(directory) for name in names]
            last_written = max((tf.io.gfile.stat(path).mtime_nsec / 1e9 for path in files), default=oldest)
            # The owner's file is among them, and so the heartbeats of one elsewhere.
            if last_written < oldest and not folder_lock.is_held_here(directory):
                _LOG.warning("Nobody has trained in %s for %d days: it is removed.", directory, ABANDONED_DAYS)
                _remove_training(directory)
        except tf.errors.OpError:
            continue  # Another training that ends was first.


def _training_folders(checkpoint_root: str, pattern: str = "[0-9a-f]{16}") -> list[str]:
    if not tf.io.gfile.isdir(checkpoint_root):
        return []
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(checkpoint_root))
    return [os.path.join(checkpoint_root, name) for name in sorted(names) if re.fullmatch(pattern, name)]


def _copy(source: str, target: str) -> None:
    """Copy the files of a folder."""
    tf.io.gfile.makedirs(target)
    for name in tf.io.gfile.listdir(source):
        tf.io.gfile.copy(os.path.join(source, name), os.path.join(target, name), overwrite=True)


def _matching_files(patterns: Sequence[str]) -> list[str]:
    """List the files that match, or lie in a folder that is named in place of a pattern.

    Hidden files and editors' copies are passed over with a warning. Raises ValueError for a pattern without files.
    """
    files: list[str] = []
    for pattern in patterns:
        folder, name = os.path.split(pattern)
        folder = pattern if tf.io.gfile.isdir(pattern) else folder
        # The folder's own name may hold brackets, which a pattern takes for a choice of letters.
        if (folder == pattern or name == "*") and tf.io.gfile.isdir(folder):
            matching = [os.path.join(folder, name) for name in tf.io.gfile.listdir(folder) if not name.endswith("/")]
        else:
            matching = tf.io.gfile.glob(pattern)
        passed_over = [path for path in matching if re.search(r"^[._]|~$", os.path.basename(path))]
        if passed_over:
            _LOG.warning("Passed over, for they are no examples by their names: %s", ", ".join(sorted(passed_over)))
        if len(passed_over) == len(matching):
            raise ValueError(f"No file of examples matches {pattern}. Name the files, or their folder.")
        files += set(matching) - set(passed_over)
    return sorted(files)


def _content_hash(files: Sequence[str]) -> str:
    """Hash the content of files in their order, which is that of training."""
    digest = hashlib.sha256()
    for path in files:
        one = hashlib.sha256()
        with tf.io.gfile.GFile(path, "rb") as file:
            while part := file.read(2**24):
                one.update(part)
        digest.update(one.digest())
    return digest.hexdigest()
