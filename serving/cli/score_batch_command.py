"""`draw score-batch`: the batch job's command line; `python -m serving.batch` where that is not installed."""

from __future__ import annotations

import logging
import time
from typing import Any

import click
from click.core import ParameterSource

from serving import pretrained, staged_model
from serving.beam_options import LOCAL_BEAM_ARGUMENTS
from serving.cli.beam_command import BeamCommand
from serving.cli.command_line import input_option
from serving.cli.interruption import interruptible
from serving.cli.number_options import BATCH_ROWS, NATURAL, SAMPLES, SECONDS, SHARE, Real
from serving.cli.pixel_options import pixel_options
from serving.cli.place_options import model_place, readable_by_beam
from serving.file_systems import connect
from serving.native_output import quiet_native_code

INCOMPLETE = 3
DRIFTED = 4
_FLAG_BY = ("mahalanobis", "typicality", "bound", "complexity_corrected")
_FORMATS = ("parquet", "csv", "jsonl")


@click.command("score-batch", cls=BeamCommand)
@click.option("--model", required=True, metavar="DIR_OR_HOST:PORT", help="A SavedModel, its versions, or a server.")
@click.option(
    "--model-name",
    envvar=["DRAW_MODEL", "TASK"],
    default="digits",
    show_default=True,
    help="Name under which a server has the model.",
)
@input_option
@click.option("--output", required=True, metavar="PREFIX", help="What the names of the outputs begin with.")
@click.option("--samples", type=SAMPLES, default=1, show_default=True, help="Noise samples for each image.")
@click.option("--format", "file_format", type=click.Choice(_FORMATS), default="parquet", show_default=True)
@pixel_options
@click.option(
    "--pictures",
    type=click.IntRange(0, 10_000),
    default=0,
    show_default=True,
    help="Show so many of the most and of the least likely images.",
)
@click.option(
    "--flag-rate",
    type=Real(0, 1, min_open=True, max_open=True),
    help="Flag unusual images: those beyond what this share of usual ones reach, by the model's reference.",
)
@click.option(
    "--flag-by",
    type=click.Choice(_FLAG_BY),
    default=_FLAG_BY[0],
    show_default=True,
    help="The score that decides; by all but bound an image that scores too well may be unusual too.",
)
@click.option(
    "--max-drift",
    type=SHARE,
    help=f"Exit with {DRIFTED} if the images as a whole drift further from the reference: the greatest "
    "Kolmogorov-Smirnov statistic of their scores.",
)
@click.option("--batch-rows", type=BATCH_ROWS, default=512, show_default=True, help="Samples in a call of the model.")
@click.option("--max-bad", type=NATURAL, default=0, show_default=True, help="Rejected rows to tolerate.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=SECONDS,
    default=300.0,
    show_default=True,
    help="Seconds that a server may take for a batch.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier job's outputs when the new ones are written.")
@click.pass_context
def score_batch(
    ctx: click.Context,
    model: str,
    model_name: str,
    inputs: tuple[str, ...],
    output: str,
    max_bad: int,
    max_drift: float | None,
    timeout_seconds: float,
    batch_rows: int,
    beam_arguments: tuple[str, ...],
    **job: Any,
) -> None:
    """Score many images with a Beam job: the bound of each, and the importance-weighted bound of --samples.

    PATTERN names TFRecords of tf.Examples (plain or .gz), .npz, .npy and .parquet files with an array or a column
    `image` and maybe `id`, or pictures. The outputs are PREFIX-scores-*, PREFIX-rejected-* with what could not be
    scored and why, and PREFIX-summary.json, which is written last. Every row is in the one or the other, or the summary
    says where rows were lost.

    What comes after -- is Beam's: -- --runner=FlinkRunner --flink_master=HOST:8081. Without it the job runs in this
    process.

    With a reference of the model, which the pipeline and `draw reference` make, the scores say where each image falls
    in it, and the summary how far all of them have drifted from it. --flag-rate writes unusual images to
    PREFIX-flagged-* too, and shows the 64 most unusual in PREFIX-flagged.png, the worst first.

    Exits with 0, or with 3 if nothing was scored, if more than --max-bad rows were not, or if nobody can tell how many
    a broken file had; else with 4 if the images have drifted further than --max-drift. Interrupted, it leaves nothing
    and exits with 130, or 143 after SIGTERM.
    """
    if job["flag_rate"] is None and ctx.get_parameter_source("flag_by") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--flag-by is what --flag-rate flags images by: give a --flag-rate, such as 0.01, too.")
    with quiet_native_code():
        # TensorFlow and Beam, which take seconds to import.
        from serving import beam_job
        from serving.batch import job as batch_job
        from serving.batch.model_source import model_source
        from serving.batch.summary import as_text, drift_of, is_complete
    logging.getLogger("apache_beam").setLevel(logging.ERROR)

    started = time.monotonic()
    with interruptible():
        try:
            output = readable_by_beam(output)
            names = [readable_by_beam(name) for name in inputs]
            place = model_place(pretrained.resolve(model))
            if staged_model.is_staged(place):
                connect([place], [*LOCAL_BEAM_ARGUMENTS, *beam_arguments])
            source = model_source(place, name=model_name, timeout_seconds=timeout_seconds)
            if max_drift is not None and isinstance(source.reference, str):
                raise ValueError(f"--max-drift has nothing to compare with. {source.reference}")
            summary = batch_job.score_batch(
                batch_job.Job(
                    model=source,
                    input=names,
                    output=output,
                    rows=batch_rows,
                    **job,
                ),
                (*LOCAL_BEAM_ARGUMENTS, *beam_arguments),  # of an option that is given twice Beam takes the last
                report=lambda line: click.echo(line, err=True),
            )
        except Exception as error:
            raise click.ClickException(beam_job.reason(error)) from error
    seconds = time.monotonic() - started
    click.echo(as_text(summary), nl=False)
    click.echo(f"{seconds:,.0f} s, {summary['images'] / seconds:,.0f} images/s with the start-up")
    if summary["rejected"] or summary["losses_of_unknown_size"]:
        click.echo(f"{output}-rejected-* say why images were rejected")
    click.echo(f"{output}-summary.json")
    if not is_complete(summary, max_bad):
        ctx.exit(INCOMPLETE)
    drift = drift_of(summary)
    if max_drift is not None and drift is not None and drift > max_drift:
        click.echo(f"The drift is {drift:.3f}, and at most {max_drift:g} was allowed.", err=True)
        ctx.exit(DRIFTED)
