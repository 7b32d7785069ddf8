"""TFX's entry point: train and export the Trainer component's task."""

from __future__ import annotations

import functools

from tfx.components.trainer.fn_args_utils import FnArgs

from serving.batch.split_reference import add_reference
from trainer.task import Task
from trainer.training import train_and_export


def run_fn(fn_args: FnArgs) -> None:
    """Train and export, as TFX's Trainer asks.

    `custom_config` holds `task` as JSON, `checkpoint_root`, and optionally `initial_state`: a file's `path`, and its
    `sha256`, by which TFX's cache and the job tell one state from another.

    Checkpoints live below `checkpoint_root` and not in the output folder, which is a new one for each attempt, so that
    the next attempt can resume a killed one. They are deleted when the model is exported, with the reference of its
    scores in its assets.
    """

    def report(line: str) -> None:
        print(f"      {line}", flush=True)

    train_and_export.run(
        Task.from_json(fn_args.custom_config["task"]),
        train_patterns=fn_args.train_files,
        validation_patterns=fn_args.eval_files,
        checkpoint_root=fn_args.custom_config["checkpoint_root"],
        model_dir=fn_args.serving_model_dir,
        initial_state=fn_args.custom_config.get("initial_state"),
        report=report,
        logs_dir=fn_args.model_run_dir,
        complete=functools.partial(add_reference, report=report),
    )
