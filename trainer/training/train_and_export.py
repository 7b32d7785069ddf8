"""One training job, from examples to an exported model, as every worker runs it, with TFX or without."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from trainer.export import exporter
from trainer.task import Task
from trainer.training import cluster, devices, loop


def run(
    task: Task,
    *,
    train_patterns: Sequence[str],
    validation_patterns: Sequence[str],
    checkpoint_root: str,
    model_dir: str,
    report: Callable[[str], None],
    initial_state: Mapping[str, str] | None = None,
) -> str | None:
    """Train the task on the files that match and export it to `model_dir`, which appears only when complete.

    `initial_state` is where to start, see `loop.train`: a file's `path` and its `sha256`. Checkpoints and summaries
    live below `checkpoint_root`, in a folder named after the task, the training files and that state, so that only a
    run with the same inputs resumes it.

    Returns that folder on the chief, None on other workers. No worker returns before the model is written. Raises
    what `loop.train` raises, and cluster.WorkerLost.
    """
    devices.configure_threads()
    strategy = devices.strategy(report)
    with cluster.translate_losses(strategy):
        train_files = _files(train_patterns)
        inputs = [task.to_json(), *train_files, *([initial_state["sha256"]] if initial_state else [])]
        digest = hashlib.sha256("\n".join(inputs).encode()).hexdigest()
        directory = os.path.join(checkpoint_root, digest[:16])
        partial = f"{model_dir.rstrip('/')}.partial"
        chief = cluster.is_chief(strategy)
        if chief:
            # A killed export may have left files there. Made now, so that a folder that cannot be written fails early.
            if tf.io.gfile.exists(partial):
                tf.io.gfile.rmtree(partial)
            tf.io.gfile.makedirs(partial)
        weights = loop.train(
            task,
            strategy=strategy,
            train_files=train_files,
            validation_files=_files(validation_patterns),
            directory=directory,
            initial_state=initial_state["path"] if initial_state else None,
            report=report,
        )
        if chief:
            exporter.export(task, weights, partial)
            tf.io.gfile.rename(partial, model_dir, overwrite=True)
        cluster.end_together(strategy)
    return directory if chief else None


def _files(patterns: Sequence[str]) -> list[str]:
    return sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
