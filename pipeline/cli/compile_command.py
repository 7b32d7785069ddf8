"""`draw compile`: the pipeline as a package for Kubeflow Pipelines 2."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import training_options
from pipeline.kubeflow import compiler
from pipeline.kubeflow.compile_settings import CompileSettings
from serving.native_output import quiet_native_code


@click.command()
@click.option(
    "--task",
    "task_name",
    envvar="TASK",
    default="digits",
    show_default=True,
    help="The task of a run that names none. The pipeline is for tasks of its kind: generative ones, or classifiers.",
)
@click.option("--cluster", "cluster_file", envvar="CLUSTER", help="A YAML file: image, resources, volumes, secrets.")
@click.option("--image", envvar="IMAGE", help="The image that stages run in.  [default: the cluster file's]")
@click.option(
    "--pipeline-root",
    envvar="PIPELINE_ROOT",
    help="Where artifacts go: gs://, s3:// or minio://.  [default: the cluster's own]",
)
@click.option("--data-dir", envvar="DATA_DIR", help="Where TFDS data sets are: gs:// or a volume's path.")
@click.option(
    "--serving-dir",
    envvar="SERVING_DIR",
    help="Where models are pushed to: gs:// or a volume's path; {task} in it is the task's name.  "
    "[default: serving/{task} below a pipeline root at gs://]",
)
@click.option(
    "--checkpoint-root",
    envvar="CHECKPOINT_ROOT",
    help="Where training goes on after it was killed: gs:// or a volume's path.  "
    "[default: checkpoints below a pipeline root at gs://]",
)
@training_options
@click.option(
    "--tolerance",
    envvar="TOLERANCE",
    type=float,
    help="By how much a model may be worse than the one that was pushed last.  [default: the task's]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The package, a .yaml.  [default: draw.yaml or draw-classifier.yaml]",
)
def compile_pipeline(output: Path | None, **words: str | int | float | None) -> None:
    """Compile the pipeline for Kubeflow Pipelines 2: write the package that it is given.

    The task, its steps, thresholds and places are runtime parameters, with what is given here as their defaults:
    any task of the same kind can be run without compiling again. Options can be given as environment variables, by
    the names that pipeline/kubeflow_runner.py lists.

    Exits with 0 when the package is written, and 1 where that cannot be.
    """
    try:
        settings = CompileSettings.resolve(**words)  # type: ignore[arg-type]
        output = output or Path(f"{settings.pipeline_name}.yaml")
        if output.suffix not in (".yaml", ".yml"):
            raise ValueError(f"The package is to be {output}: Kubeflow Pipelines takes a .yaml.")
        with quiet_native_code():
            written = compiler.run(settings, output)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    # The tfx command has it written to a folder of its own, and says where, or deletes it.
    if written == output:
        click.echo(f"package  {written}")
