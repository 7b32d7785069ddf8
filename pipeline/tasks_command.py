"""`draw tasks`: a table of the tasks."""

from __future__ import annotations

import click

from trainer import tasks as registry
from trainer.task import NoAttention, Task

_HEADINGS = ("name", "title", "data set", "T", "LSTM", "n_z", "attention", "steps", "gate (nats)")


@click.command()
def tasks() -> None:
    """List the tasks and what each is made of."""
    table = [_HEADINGS, *(_row(registry.get(name)) for name in registry.NAMES)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(task: Task) -> tuple[str, ...]:
    if isinstance(task.attention, NoAttention):
        attention = "none"
    else:
        attention = f"read {task.attention.read}, write {task.attention.write}"
    return (
        task.name,
        task.title,
        task.data.builder,
        str(task.glimpses),
        str(task.lstm_units),
        str(task.latent_size),
        attention,
        f"{task.recipe.steps:,}",
        f"{task.gate.max_nll_bound:g}",
    )
