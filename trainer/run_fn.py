"""TFX's entry point: trains the task that the Trainer component was given and exports it."""

from __future__ import annotations

import os

from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from trainer.task import Task
from trainer.training import train_and_export


def run_fn(fn_args: FnArgs) -> None:
    """Called by TFX's Trainer. `custom_config` holds `task`, as JSON, `checkpoint_root`, and maybe `initial_state`.

    The latter is a file's `path` and its `sha256`, by which TFX's cache and the job tell one state from another.

    Checkpoints live below `checkpoint_root`: TFX gives each attempt a new output folder, and an attempt that was killed
    could not be resumed from there. They are deleted when the model is exported.
    """
    directory = train_and_export.run(
        Task.from_json(fn_args.custom_config["task"]),
        train_patterns=fn_args.train_files,
        validation_patterns=fn_args.eval_files,
        checkpoint_root=fn_args.custom_config["checkpoint_root"],
        model_dir=fn_args.serving_model_dir,
        initial_state=fn_args.custom_config.get("initial_state"),
        report=lambda line: print(f"      {line}", flush=True),
    )
    if directory is not None:
        io_utils.copy_dir(os.path.join(directory, "logs"), fn_args.model_run_dir)
        fileio.rmtree(directory)
