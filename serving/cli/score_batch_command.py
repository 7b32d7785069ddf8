"""`draw score-batch`: the batch job's command line; `python -m serving.batch` where that is not installed."""

from __future__ import annotations

import logging
import time
from typing import Any

import click

from serving.cli.pixel_options import pixel_options
from serving.native_output import quiet_native_code

TOO_MANY_REJECTED = 3
_FORMATS = ("parquet", "csv", "jsonl")


@click.command("score-batch", context_settings={"ignore_unknown_options": True})
@click.option("--model", required=True, metavar="DIR_OR_HOST:PORT", help="A SavedModel, its versions, or a server.")
@click.option(
    "--model-name",
    envvar=["DRAW_MODEL", "TASK"],
    default="digits",
    show_default=True,
    help="Name under which a server has the model.",
)
@click.option("--input", "pattern", required=True, metavar="PATTERN", help="A folder, a file, or a pattern of files.")
@click.option("--output", required=True, metavar="PREFIX", help="What the names of the outputs begin with.")
@click.option("--samples", type=click.IntRange(1), default=1, show_default=True, help="Noise samples for each image.")
@click.option("--format", "file_format", type=click.Choice(_FORMATS), default="parquet", show_default=True)
@pixel_options
@click.option(
    "--pictures",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Show so many of the most and of the least likely images.",
)
@click.option(
    "--batch-rows", type=click.IntRange(1), default=512, show_default=True, help="Samples in a call of the model."
)
@click.option("--max-bad", type=click.IntRange(0), default=0, show_default=True, help="Rejected rows to tolerate.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="Seconds that a server may take for a batch.",
)
@click.argument("beam_flags", nargs=-1, type=click.UNPROCESSED, metavar="[BEAM FLAGS]...")
@click.pass_context
def score_batch(
    ctx: click.Context,
    model: str,
    model_name: str,
    pattern: str,
    output: str,
    max_bad: int,
    timeout_seconds: float,
    batch_rows: int,
    beam_flags: tuple[str, ...],
    **job: Any,
) -> None:
    """Score many images with a Beam job: the bound of each, and the importance-weighted bound of --samples.

    PATTERN names TFRecords of tf.Examples (plain or .gz), .npz, .npy and .parquet files with an array or a column
    `image` and maybe `id`, or pictures. The outputs are PREFIX-scores-*, PREFIX-rejected-* with what could not be
    scored and why, and PREFIX-summary.json, which is written last.

    Flags that are none of these are Beam's, such as --runner=FlinkRunner; without any the job runs in this process.

    Exits with 0, or with 3 if more than --max-bad rows were rejected.
    """
    with quiet_native_code():
        # TensorFlow and Beam, which take seconds to import.
        from serving.batch import job as batch_job
        from serving.batch.model_source import model_source
        from serving.batch.summary import as_text
        from serving.client import ServingError
    logging.getLogger("apache_beam").setLevel(logging.ERROR)

    started = time.monotonic()
    try:
        source = model_source(model, name=model_name, timeout_seconds=timeout_seconds)
        summary = batch_job.score_batch(
            batch_job.Job(model=source, input=pattern, output=output, rows=batch_rows, **job),
            (*batch_job.LOCAL_BEAM_ARGUMENTS, *beam_flags),  # of a flag that is given twice Beam takes the last
            report=lambda line: click.echo(line, err=True),
        )
    except (ServingError, ValueError, OSError, RuntimeError) as error:
        # Beam reports an error of another process's worker as that worker's whole traceback.
        raise click.ClickException((str(error).strip().splitlines() or [type(error).__name__])[-1]) from error
    seconds = time.monotonic() - started
    click.echo(as_text(summary), nl=False)
    click.echo(f"{seconds:,.0f} s, {summary['images'] / seconds:,.0f} images/s with the start-up")
    if summary["rejected"]:
        click.echo(f"{output}-rejected-* say why images were rejected")
    click.echo(f"{output}-summary.json")
    ctx.exit(TOO_MANY_REJECTED if summary["rejected"] > max_bad else 0)
