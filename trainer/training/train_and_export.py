"""One training job, from examples to an exported model: what every worker runs, under TFX or without it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from trainer.export import exporter
from trainer.task import ClassifyingTask, GenerativeTask
from trainer.training import cluster, devices, loop


def run(
    task: GenerativeTask | ClassifyingTask,
    *,
    train_patterns: Sequence[str],
    validation_patterns: Sequence[str],
    checkpoint_root: str,
    model_dir: str,
    report: Callable[[str], None],
    initial_state: Mapping[str, str] | None = None,
) -> str | None:
    """Trains the task on the files that match, and exports it to `model_dir`, which is complete if it is there.

    `initial_state` is where to begin, see `loop.train`: a file's `path` and its `sha256`. Checkpoints and summaries
    live below `checkpoint_root`, in a folder that belongs to this task, these examples and that state, so that an
    attempt that was killed is gone on with by the next one and by no other.

    Returns that folder; None on a worker that is not the chief, for whom nothing is left to do. No worker returns
    before the model is written. Raises what `loop.train` raises, and cluster.WorkerLost.
    """
    devices.configure_threads()
    strategy = devices.strategy(report)
    with cluster.translate_losses(strategy):
        train_files, validation_files = _files(train_patterns), _files(validation_patterns)
        origin = [task.to_json(), *train_files, *([initial_state["sha256"]] if initial_state else [])]
        digest = hashlib.sha256("\n".join(origin).encode()).hexdigest()
        directory = os.path.join(checkpoint_root, digest[:16])
        partial = f"{model_dir.rstrip('/')}.partial"
        if cluster.is_chief(strategy):
            # Made now, to find out before the training where it cannot be written.
            if tf.io.gfile.exists(partial):
                tf.io.gfile.rmtree(partial)
            tf.io.gfile.makedirs(partial)
        weights = loop.train(
            task,
            strategy=strategy,
            train_files=train_files,
            validation_files=validation_files,
            directory=directory,
            initial_state=initial_state["path"] if initial_state else None,
            report=report,
        )
        if cluster.is_chief(strategy):
            exporter.export(task, weights, partial)
            # When it is whole: who finds a model finds all of it.
            tf.io.gfile.rename(partial, model_dir, overwrite=True)
        cluster.end_together(strategy)
    return directory if cluster.is_chief(strategy) else None


def _files(patterns: Sequence[str]) -> list[str]:
    return sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
