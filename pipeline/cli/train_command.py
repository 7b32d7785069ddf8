"""`draw train`: train and export without TFX, also as one of a cluster's workers."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from pathlib import Path

import click

from pipeline.initial_state import identify
from pipeline.local.failure import reason
from pipeline.option_fields import settings_options
from pipeline.training_options import TaskOption
from serving import pretrained
from serving.cli.command_line import draw_command
from serving.cli.number_options import STEPS
from serving.cli.place_options import LocalName, LocalPath, TensorFlowPattern
from serving.native_output import quiet_native_code
from trainer import folder_lock
from trainer.training.tf_config import Cluster

WORKER_LOST = 138
"""Exit status after which Kubeflow's TFJob restarts the worker."""

INTERRUPTED = 130


class _WorkerLost(click.ClickException):
    exit_code = WORKER_LOST


_FOLDER = LocalPath(file_okay=False, path_type=Path)


@draw_command()
@settings_options(TaskOption)
@click.option("--steps", envvar="STEPS", type=STEPS, help="Training steps.  [default: the task's]")
@click.option(
    "--examples",
    type=TensorFlowPattern(),
    required=True,
    help="The pipeline's training examples: a folder, or a pattern of files.",
)
@click.option(
    "--validation",
    type=TensorFlowPattern(),
    required=True,
    help="Examples for validation while training, named in the same way.",
)
@click.option(
    "--checkpoints",
    required=True,
    type=_FOLDER,
    help="A folder for the checkpoints, from which a killed training resumes, and TensorBoard's logs.",
)
@click.option(
    "--init-from",
    envvar="INIT_FROM",
    type=LocalName(),
    help="Where training starts, as in `draw run`: a pretrained model, a SavedModel, a training's checkpoints.  "
    "[default: random weights]",
)
@click.option("-o", "--output", required=True, type=_FOLDER, help="The SavedModel, a folder that does not exist yet.")
@click.pass_context
def train(
    ctx: click.Context,
    choice: TaskOption,
    steps: int | None,
    examples: str,
    validation: str,
    checkpoints: Path,
    init_from: str | None,
    output: Path,
) -> None:
    """Train a task on the pipeline's examples and export it, without the rest of the pipeline.

    After it was killed or interrupted, the same command resumes from the last checkpoint; SIGTERM saves one first.
    With more steps and else the same inputs it continues a finished training. Other examples, though under the same
    names, or another task start anew.

    Where TF_CONFIG names a cluster of several workers, start this command on each with the same options. They train
    one model and share each batch. Only the first, the chief, reads and writes CHECKPOINTS and OUTPUT; the others end
    with it.

    Exits with 0 when the model is written, 1 when that failed, 130 when it was interrupted, 143 after SIGTERM. Start
    all workers again after 138, when another worker was lost, and 142, when not all came within ten minutes.
    """
    try:
        task = choice.task
        if steps is not None:
            task = task.with_steps(steps)
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise ValueError(f"{output} is not empty: name a folder that does not exist yet, or remove it first.")
        Cluster.from_environment()  # Checked now, and used when all is imported.
        start = None if init_from is None else _existing(init_from)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    # A user who sets the level wants to read TensorFlow's log.
    with contextlib.nullcontext() if "TF_CPP_MIN_LOG_LEVEL" in os.environ else quiet_native_code():
        import tensorflow as tf

        from serving.batch.split_reference import add_reference
        from trainer.training import cluster, loop, train_and_export

        _show_warnings()
        try:
            is_chief = train_and_export.run(
                task,
                train_patterns=[examples],
                validation_patterns=[validation],
                checkpoint_root=str(checkpoints.absolute()),
                model_dir=str(output.absolute()),
                initial_state=None if start is None else identify(start),
                report=click.echo,
                complete=functools.partial(add_reference, report=click.echo),
            )
        except (
            cluster.WorkerLost,
            folder_lock.FolderHeld,
            folder_lock.FolderLost,
            loop.TrainingDiverged,
            tf.errors.OpError,
            OSError,
            ValueError,
        ) as error:
            failed = _WorkerLost if isinstance(error, cluster.WorkerLost) else click.ClickException
            raise failed(reason(error)) from error
        except KeyboardInterrupt:
            click.echo("Interrupted. The same command goes on from the last checkpoint.")
            ctx.exit(INTERRUPTED)
    click.echo(f"model {output}" if is_chief else "the chief has written the model")


def _existing(init_from: str) -> str:
    path = Path(pretrained.resolve(init_from)).absolute()
    if not path.exists():
        raise ValueError(
            f"There is nothing at {init_from} to start from. Name a pretrained model (see `draw models`), or the "
            "folder of a SavedModel or of checkpoints."
        )
    return str(path)


def _show_warnings() -> None:
    """Show our own warnings on standard output, for standard error may be closed to silence TensorFlow."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logging.getLogger("trainer").addHandler(handler)
