"""`draw run`: the whole pipeline on this machine, and its result in a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.cli.options import training_options
from pipeline.local import runner
from pipeline.local.failure import RunFailed
from pipeline.local.run_settings import RunSettings

if TYPE_CHECKING:
    from pipeline.local.outcome import RunOutcome

NOT_PUSHED = 3  # click exits with 2 where an option is wrong
INTERRUPTED = 130


@click.command()
@click.option("--task", "task_name", envvar="TASK", default="digits", show_default=True, help="See `draw tasks`.")
@click.option(
    "--data-dir", envvar="DATA_DIR", help="Where TFDS data sets are, or will be, prepared.  [default: TFDS's own]"
)
@click.option(
    "--pipeline-root",
    envvar="PIPELINE_ROOT",
    default="runs",
    show_default=True,
    help="Where everything lands, in a folder a task.",
)
@training_options
@click.option(
    "--cache/--no-cache",
    "use_cache",
    default=True,
    show_default=True,
    help="Whether stages whose inputs have not changed are taken from the cache, which does not notice changed code.",
)
@click.option(
    "--initial-state",
    envvar="INITIAL_STATE",
    help="A training state to go on from, as benchmarks.accelerator writes it.  [default: the beginning]",
)
@click.pass_context
def run(
    ctx: click.Context,
    task_name: str,
    data_dir: str | None,
    steps: int | None,
    train_examples: int | None,
    pipeline_root: str,
    max_nll_bound: float | None,
    max_error: float | None,
    use_cache: bool,
    initial_state: str | None,
    score_samples: int | None,
) -> None:
    """Train, judge and push a model: the whole pipeline on this machine.

    Killed or interrupted, the same command goes on from where it was: finished stages come from the cache, training
    from its last checkpoint. Options can be given as environment variables: TASK, DATA_DIR, STEPS, TRAIN_EXAMPLES,
    PIPELINE_ROOT, MAX_NLL_BOUND, MAX_ERROR, INITIAL_STATE, SCORE_SAMPLES.

    Exits with 0 when the model is pushed, 3 when it was refused, 1 when the run failed, 130 when it was interrupted.
    """
    try:
        settings = RunSettings.resolve(
            task_name=task_name,
            data_dir=data_dir,
            steps=steps,
            train_examples=train_examples,
            pipeline_root=pipeline_root,
            max_nll_bound=max_nll_bound,
            max_error=max_error,
            use_cache=use_cache,
            initial_state=initial_state,
            score_samples=score_samples,
        )
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{settings.task.name}: {settings.task.title}. Everything lands in {settings.folder}")
    try:
        outcome = runner.run(settings)
    except RunFailed as error:
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


def _print_result(settings: RunSettings, outcome: RunOutcome) -> None:
    evaluation = outcome.evaluation
    if outcome.all_cached:
        click.echo("Nothing has changed: all stages cached.")
    click.echo()
    examples = f"on the {evaluation['overall']['count']:,} examples of split {evaluation['split']!r}"
    if "error" in evaluation["overall"]:
        error, limit = evaluation["overall"]["error"], f"{evaluation['max_error']:.2%}"
        low, high = error["interval_95"]
        click.echo(f"error    {_percent(error['mean'])}, 95% interval {_percent(low)} to {_percent(high)}, {examples}")
    else:
        bound, limit = evaluation["overall"]["nll_bound"], f"{evaluation['max_nll_bound']:g} nats"
        mean, deviation = _number(bound["mean"]), _number(bound["standard_error"])
        click.echo(f"bound    {mean} nats an image, standard error {deviation}, {examples}")
    if outcome.blessed:
        click.echo(f"gate     passed: at most {limit}")
    else:
        click.echo(f"gate     refused: {'; '.join(evaluation['reasons'])}")
    if outcome.unservable:
        click.echo(f"serving  refused: {outcome.unservable}")
    if outcome.pushed_dir:
        click.echo(f"model    {outcome.pushed_dir}")
    else:
        click.echo(f"model    not pushed; it is in {outcome.model_dir}")
    click.echo(f"samples  {settings.sample_sheet(outcome.model_number)}")
    click.echo(f"report   {outcome.report}")


def _number(value: float | None) -> str:
    """Null in the evaluation is a number that was not finite."""
    return "not finite" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2%}"
