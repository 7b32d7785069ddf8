"""`draw figures`: the paper's figures of a model, for print."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.local.run_settings import RunFolder
from pipeline.option_fields import settings_options
from serving.cli.command_line import draw_command
from serving.cli.number_options import INT64
from serving.cli.place_options import LocalName, LocalPath, TensorFlowPattern
from serving.native_output import quiet_native_code

if TYPE_CHECKING:
    from pipeline.paper.figures import FigureInputs


@draw_command()
@click.option(
    "--out", required=True, type=LocalPath(file_okay=False, path_type=Path), help="Folder that they are written to."
)
@click.option(
    "--model",
    type=LocalName(),
    help="A pretrained model, or the folder of a SavedModel or its versions.  [default: the last that was judged]",
)
@click.option(
    "--examples",
    type=TensorFlowPattern(),
    help="Pattern of the images to be looked at.  [default: the run's test split]",
)
@click.option(
    "--training",
    type=TensorFlowPattern(),
    multiple=True,
    help="Pattern of the training images; may be given several times.  [default: the run's]",
)
@click.option(
    "--logs",
    type=LocalPath(exists=True, file_okay=False, path_type=Path),
    help="Of the training, by step.  [default: the run's]",
)
@click.option("--seed", type=INT64, default=0, show_default=True, help="That of `draw sample` gives the same images.")
@settings_options(RunFolder)
def figures(settings: RunFolder, out: Path, model: str | None, seed: int, **given: Any) -> None:
    """Draw the paper's figures of a model: PNG for print, and animations.

    Of a run of --task they are made of its own model, images and logs; of a --model, of what is named beside it.
    Patterns are quoted, such as 'E/Split-test/*', of the pipeline's tf.Examples. What does not apply is told.
    """
    try:
        with quiet_native_code():
            from pipeline.paper.figures import write_figures

            inputs = _inputs_from_run(settings) if model is None else _inputs_from_model(model)
        inputs = dataclasses.replace(inputs, **{name: value for name, value in given.items() if value})
        for result in write_figures(inputs, out, seed):
            remark = f": {result.remark}" if result.remark else ""
            click.echo(f"{result.paper:24}{result.path or 'not drawn'}{remark}")
    except (RuntimeError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _inputs_from_run(settings: RunFolder) -> FigureInputs:
    """Takes the last model that a run judged, with its examples and logs."""
    from pipeline.paper.figures import FigureInputs
    from pipeline.paper.last_evaluation import last_evaluation
    from trainer.export import exporter

    evaluation = last_evaluation(settings.metadata_path)
    task = exporter.read_task(evaluation.model_dir)
    return FigureInputs(
        task=task,
        model_dir=evaluation.model_dir,
        name=f"Model {evaluation.model_number}, {task.recipe.steps:,} training steps",
        examples=str(evaluation.examples / "*"),
        training=[str(evaluation.examples.with_name(f"Split-{name}") / "*") for name in task.data.training_splits],
        logs=evaluation.model_run,
    )


def _inputs_from_model(directory: str) -> FigureInputs:
    """Takes a SavedModel, which knows its task and nothing of its run."""
    from pipeline.paper.figures import FigureInputs
    from serving import pretrained
    from serving.saved_model import newest_version
    from trainer.export import exporter

    model_dir = Path(newest_version(pretrained.resolve(directory)))
    name = f"Model {model_dir.name}"
    if directory in pretrained.names():
        # Its task has the recipe of the last stage alone.
        steps = sum(stage["steps"] for stage in pretrained.metrics(directory)["training"])
        name = f"Pretrained model, {steps:,} training steps"
    return FigureInputs(task=exporter.read_task(model_dir), model_dir=model_dir, name=name)
