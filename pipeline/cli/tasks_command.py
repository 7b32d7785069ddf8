"""`draw tasks`: a table of the tasks."""

from __future__ import annotations

import click

from trainer import tasks as registry
from trainer.task import Attention, ClassifyingTask, GenerativeTask

_HEADINGS = ("name", "title", "data set", "T", "LSTM", "n_z", "attention", "steps", "gate")


@click.command()
def tasks() -> None:
    """List the tasks and what each is made of."""
    table = [_HEADINGS, *(_row(registry.get(name)) for name in registry.NAMES)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(task: GenerativeTask | ClassifyingTask) -> tuple[str, ...]:
    if isinstance(task, ClassifyingTask):
        latent, attention, gate = "-", f"read {task.read}", f"{task.gate.max_error:.0%} wrong"
    else:
        latent, gate = str(task.latent_size), f"{task.gate.max_nll_bound:g} nats"
        attention = "none"
        if isinstance(task.attention, Attention):
            attention = f"read {task.attention.read}, write {task.attention.write}"
    return (
        task.name,
        task.title,
        task.data.builder,
        str(task.glimpses),
        str(task.lstm_units),
        latent,
        attention,
        f"{task.recipe.steps:,}",
        gate,
    )
