"""`draw figures`: the paper's figures of a model, for print."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.local.run_settings import RunSettings
from serving.native_output import quiet_native_code
from trainer.task import ClassifyingTask, GenerativeTask, Task

if TYPE_CHECKING:
    from pipeline.paper.figures import Material


@click.command()
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder that they are written to."
)
@click.option("--model", help="Folder of a SavedModel, or of its versions.  [default: the last model that was judged]")
@click.option("--examples", help="Pattern of the images to be looked at.  [default: the run's test split]")
@click.option("--training", help="Pattern of the training images.  [default: the run's]")
@click.option(
    "--logs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Of the training, by step.  [default: the run's]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="That of `draw sample` gives the same images.")
@click.option("--task", "task_name", envvar="TASK", default="digits", show_default=True, help="See `draw tasks`.")
@click.option("--pipeline-root", envvar="PIPELINE_ROOT", default="runs", show_default=True, help="That of `draw run`.")
def figures(
    out: Path,
    model: str | None,
    examples: str | None,
    training: str | None,
    logs: Path | None,
    seed: int,
    task_name: str,
    pipeline_root: str,
) -> None:
    """Draw the paper's figures of a model: PNG for print, and animations.

    Of a run of --task they are made of its own model, images and logs; of a --model, of what is named beside it.
    Patterns are quoted, such as 'E/Split-test/*', of the pipeline's tf.Examples. What does not apply is told.
    """
    try:
        with quiet_native_code():
            from pipeline.paper.figures import write_figures

            material = _of_run(task_name, pipeline_root) if model is None else _of_model(model)
        material = dataclasses.replace(
            material,
            examples=examples or material.examples,
            training=training or material.training,
            logs=logs or material.logs,
        )
        for told in write_figures(material, out, seed):
            click.echo(f"{told.paper:24}{told.path or 'not drawn'}{': ' * bool(told.remark)}{told.remark}")
    except (RuntimeError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _of_run(task_name: str, pipeline_root: str) -> Material:
    """The last model that a run judged, with its examples and logs."""
    from pipeline.paper.figures import Material
    from pipeline.paper.last_evaluation import last_evaluation

    evaluation = last_evaluation(RunSettings.of_a_run(task_name, pipeline_root).metadata_path)
    resolved = _task_of(evaluation.model_dir)
    return Material(
        task=resolved,
        model_dir=evaluation.model_dir,
        name=f"Model {evaluation.model_number}",
        examples=str(evaluation.examples / "*"),
        training=str(evaluation.examples.with_name(f"Split-{resolved.data.train}") / "*"),
        logs=evaluation.model_run,
    )


def _of_model(directory: str) -> Material:
    """A SavedModel, which knows its task and nothing of its run."""
    from pipeline.paper.figures import Material
    from serving.batch.model import newest_version

    model_dir = Path(newest_version(directory))
    return Material(
        task=_task_of(model_dir),
        model_dir=model_dir,
        name=f"Model {model_dir.name}",
        examples=None,
        training=None,
        logs=None,
    )


def _task_of(model_dir: Path) -> GenerativeTask | ClassifyingTask:
    path = model_dir / "assets" / "task.json"
    if not path.exists():
        raise ValueError(f"The SavedModel {model_dir} has no assets/task.json: expected one that `draw run` exported.")
    return Task.from_json(path.read_text(encoding="utf-8"))
