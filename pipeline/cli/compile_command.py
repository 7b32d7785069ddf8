"""`draw compile`: the pipeline as a package for Kubeflow Pipelines 2."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.kubeflow import compiler
from pipeline.kubeflow.compile_settings import CompileSettings
from pipeline.option_fields import settings_options
from serving.cli.command_line import draw_command
from serving.cli.place_options import LocalPath
from serving.native_output import quiet_native_code


@draw_command()
@settings_options(CompileSettings)
@click.option(
    "-o",
    "--output",
    type=LocalPath(dir_okay=False, path_type=Path),
    help="The package, a .yaml.  [default: draw.yaml or draw-classifier.yaml]",
)
def compile_pipeline(settings: CompileSettings, output: Path | None) -> None:
    """Compile the pipeline for Kubeflow Pipelines 2: write the package that it is given.

    The task, its steps, thresholds and places are runtime parameters, with what is given here as their defaults:
    any task of the same kind can be run without compiling again. Options can be given as the environment variables
    that are named beside them.

    Exits with 0 when the package is written, and 1 where that cannot be.
    """
    output = output or Path(f"{settings.pipeline_name}.yaml")
    try:
        if output.suffix not in (".yaml", ".yml"):
            raise ValueError(f"The package is to be {output}: Kubeflow Pipelines takes a .yaml.")
        if str(settings.pipeline_root).startswith("s3://"):
            click.echo(
                "note     A root at s3:// needs providers.s3 in the configmap kfp-launcher: without it the first stage "
                "fails after its work."
            )
        with quiet_native_code():
            written = compiler.run(settings, output)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    # The tfx command has it written to a folder of its own, and says where, or deletes it.
    if written == output:
        click.echo(f"package  {written}")
