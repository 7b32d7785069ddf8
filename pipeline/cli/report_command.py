"""`draw report`: the paper's table with the row of the last evaluated model."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.local.run_settings import RunFolder
from pipeline.option_fields import settings_options
from serving.cli.command_line import draw_command
from serving.cli.number_options import SAMPLES
from serving.cli.place_options import LocalPath
from serving.native_output import quiet_native_code
from serving.pictures.png import save_whole
from trainer.task import CLASSIFIER


@draw_command()
@settings_options(RunFolder)
@click.option(
    "--samples",
    type=SAMPLES,
    help="Score every image so many times, for a row of the importance-weighted bound.  [default: no such row]",
)
@click.option("-o", "--output", type=LocalPath(dir_okay=False, path_type=Path), help="A .md file that is written too.")
def report(settings: RunFolder, samples: int | None, output: Path | None) -> None:
    """Show the paper's table with a row for the last evaluated model: what was measured, with its standard error.

    The scores of --samples are kept beside the run: the same command shows them at once.
    """
    try:
        text = _report(settings, samples)
        click.echo(text, nl=False)
        if output is not None:
            save_whole(output, lambda file: file.write(text.encode()))
    except (RuntimeError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _report(settings: RunFolder, samples: int | None) -> str:
    from pipeline.paper.last_evaluation import last_evaluation
    from pipeline.paper.results_table import classifier_markdown, markdown

    evaluation = last_evaluation(settings.metadata_path)
    if settings.task.kind is CLASSIFIER:
        if samples is not None:
            raise ValueError(f"{settings.task.name} is a classifier, which has no bound: leave out --samples.")
        return classifier_markdown(evaluation)
    if samples is None:
        return markdown(evaluation, None)
    with quiet_native_code():
        from pipeline.paper.split_scores import score_split
    scores = score_split(evaluation, samples, settings.split_scores, report=lambda line: click.echo(line, err=True))
    return markdown(evaluation, scores)
