"""`draw run`: the whole pipeline on this machine, and its result in a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pipeline.local import runner
from pipeline.local.failure import RunFailed
from pipeline.local.run_settings import RunSettings
from pipeline.option_fields import settings_options
from serving import beam_options
from serving.cli.beam_command import BeamCommand
from trainer.folder_lock import FolderHeld
from trainer.task import CLASSIFIER, GENERATIVE
from trainer.training.tf_config import Cluster

if TYPE_CHECKING:
    from pipeline.local.outcome import RunOutcome

NOT_PUSHED = 3  # click exits with 2 where an option is wrong
INTERRUPTED = 130


@click.command(cls=BeamCommand)
@settings_options(RunSettings)
@click.pass_context
def run(ctx: click.Context, settings: RunSettings, beam_arguments: tuple[str, ...]) -> None:
    """Train, judge and push a model: the whole pipeline on this machine.

    Killed or interrupted, the same command goes on from where it was: finished stages come from the cache, training
    from its last checkpoint. Options can be given as the environment variables that are named beside them.

    What comes after -- is Beam's, for the stages that run on it: -- --direct_running_mode=multi_processing
    --direct_num_workers=4. Their workers are on this machine, where everything lands.

    Exits with 0 when the model is pushed, 3 when it was refused, 1 when the run failed, 130 when it was interrupted,
    143 after SIGTERM, which saves a training's checkpoint first.
    """
    try:
        if Cluster.from_environment():
            raise ValueError(
                "TF_CONFIG names a cluster of several workers, and the pipeline runs in one process. Unset it; or "
                "train on all workers with `draw train`."
            )
        check_beam_arguments(beam_arguments)
        settings.make_folder()
        click.echo(f"{settings.task.name}: {settings.task.title}. Everything lands in {settings.folder}")
        outcome = runner.run(settings, beam_arguments)
    except (ValueError, RunFailed, FolderHeld) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo(
            "Interrupted. The same command resumes: finished stages come from the cache, training goes on from its "
            "last checkpoint.",
            err=True,
        )
        ctx.exit(INTERRUPTED)
    if outcome is not None:
        _print_result(settings, outcome)
        ctx.exit(0 if outcome.pushed_dir else NOT_PUSHED)


def check_beam_arguments(arguments: Sequence[str]) -> None:
    """Raises ValueError for what is none of Beam's options, and for workers that do not see this machine's folders."""
    if not arguments:
        return
    beam_options.check(arguments)
    if runner := beam_options.remote_runner(arguments):
        raise ValueError(
            f"{runner}'s workers would look for the run's files elsewhere: give --environment_type=LOOPBACK, by which "
            "they are here, or compile the pipeline for Kubeflow."
        )


_NO_LIMIT = "finite, and not worse than the last model; the task names no threshold"


def _print_result(settings: RunSettings, outcome: RunOutcome) -> None:
    evaluation = outcome.evaluation
    metrics = evaluation["overall"]
    if outcome.all_cached:
        click.echo("Nothing has changed: all stages cached.")
    click.echo()
    examples = f"on the {metrics['count']:,} examples of split {evaluation['split']!r}"
    if "error" in metrics:
        error, kind = metrics["error"], CLASSIFIER
        low, high = error["interval_95"]
        click.echo(f"error    {_percent(error['mean'])}, 95% interval {_percent(low)} to {_percent(high)}, {examples}")
    else:
        bound, kind = metrics["nll_bound"], GENERATIVE
        mean, deviation = _number(bound["mean"]), _number(bound["standard_error"])
        click.echo(f"bound    {mean} nats an image, standard error {deviation}, {examples}")
    if outcome.blessed:
        limit = evaluation[kind.limit]
        click.echo(f"gate     passed: {_NO_LIMIT if limit is None else f'at most {kind.limit_text(limit)}'}")
    else:
        click.echo(f"gate     refused: {'; '.join(evaluation['reasons'])}")
    if outcome.unservable:
        click.echo(f"serving  refused: {outcome.unservable}")
    if outcome.pushed_dir:
        click.echo(f"model    {outcome.pushed_dir}")
    else:
        click.echo(f"model    not pushed; it is in {outcome.model_dir}, whose weights --init-from trains further")
    click.echo(f"samples  {settings.sample_sheet(outcome.model_number)}")
    click.echo(f"report   {outcome.report}")


def _number(value: float | None) -> str:
    """Formats a number of nats; the evaluation has null for one that is not finite."""
    return "not finite" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2%}"
