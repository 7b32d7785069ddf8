"""`draw tasks`: list the tasks."""

from __future__ import annotations

import click

from trainer import tasks as registry
from trainer.task import Task

_HEADINGS = ("name", "title", "data set", "T", "LSTM", "n_z", "attention", "steps", "gate")


@click.command()
def tasks() -> None:
    """List the tasks and what each is made of."""
    table = [_HEADINGS, *(_row(registry.get(name)) for name in registry.NAMES)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(task: Task) -> tuple[str, ...]:
    return (
        task.name,
        task.title,
        task.data.builder,
        str(task.glimpses),
        str(task.lstm_units),
        str(getattr(task, "latent_size", "-")),
        ", ".join(f"{name} {n}" for name, n in task.window_sizes.items()) or "none",
        f"{task.recipe.steps:,}",
        task.kind.limit_text(getattr(task.gate, task.kind.limit)),
    )
