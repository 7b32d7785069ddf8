"""TFX's entry point: trains the task that the Trainer component was given and exports it."""

from __future__ import annotations

import hashlib
import os

import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from trainer import export, host, loop
from trainer.task import Task


def run_fn(fn_args: FnArgs) -> None:
    """Called by TFX's Trainer. `custom_config` holds `task`, as JSON, `checkpoint_root`, and maybe `initial_state`.

    The latter is where to begin, see `loop.train`: a file's `path` and its `sha256`, by which TFX's cache and this
    function tell one state from another.

    Checkpoints live below `checkpoint_root`, in a folder that belongs to this task, these examples and that state: TFX
    gives each attempt a new output folder, and an attempt that was killed could not be resumed from there. They are
    deleted when the model is exported.
    """
    host.configure_threads()
    task = Task.from_json(fn_args.custom_config["task"])
    train_files = _files(fn_args.train_files)
    initial_state = fn_args.custom_config.get("initial_state")
    origin = [task.to_json(), *sorted(train_files), *([initial_state["sha256"]] if initial_state else [])]
    digest = hashlib.sha256("\n".join(origin).encode()).hexdigest()
    directory = os.path.join(fn_args.custom_config["checkpoint_root"], digest[:16])
    weights = loop.train(
        task,
        train_files=train_files,
        validation_files=_files(fn_args.eval_files),
        directory=directory,
        initial_state=initial_state["path"] if initial_state else None,
        report=lambda line: print(f"      {line}", flush=True),
    )
    export.export(task, weights, fn_args.serving_model_dir)
    io_utils.copy_dir(os.path.join(directory, "logs"), fn_args.model_run_dir)
    fileio.rmtree(directory)


def _files(patterns: list[str]) -> list[str]:
    return sorted(path for pattern in patterns for path in tf.io.gfile.glob(pattern))
