"""`draw export-step`: the training step as a program for a machine that has no TensorFlow."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from pipeline.run_log import quiet_native_code
from trainer import tasks
from trainer.task import PRODUCTS


@click.command("export-step")
@click.option("--task", "task_name", envvar="TASK", default="digits", show_default=True, help="See `draw tasks`.")
@click.option("--batch", "batches", type=click.IntRange(1), multiple=True, default=(100,), show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Length of the learning rate's schedule.  [default: the task's]")
@click.option("--products", type=click.Choice(PRODUCTS), help="Precision of wide layers.  [default: the task's]")
@click.option("--examples", help="A pattern of the pipeline's training examples, to take along for training there.")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path))
def export_step(
    task_name: str,
    batches: tuple[int, ...],
    steps: int | None,
    products: str | None,
    examples: str | None,
    output: Path,
) -> None:
    """Write the compiled training step, a program for each --batch, and the state that it starts from.

    `python -m benchmarks.accelerator FOLDER` times it, or trains with it, on a machine with JAX and a GPU or TPU. The
    state that comes back is an `initial_state` of `trainer.loop.train`.
    """
    try:
        task = tasks.get(task_name)
        if steps is not None:
            task = task.with_steps(steps)
        if products is not None:
            task = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, products=products))
        with quiet_native_code():
            from trainer import program

            program.write(task, sorted(set(batches)), str(output), examples)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{output}: {task.name}, {', '.join(f'{batch:,}' for batch in sorted(set(batches)))} rows a step")
