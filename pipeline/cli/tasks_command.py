"""`draw tasks`: list the built-in tasks, show one, or check a task file."""

from __future__ import annotations

import json
from typing import Any

import click

from serving.cli.command_line import draw_command
from serving.cli.place_options import LocalName
from trainer import task_file, task_yaml
from trainer import tasks as registry
from trainer.task import Task

_HEADINGS = ("name", "title", "data set", "T", "LSTM", "n_z", "attention", "steps", "gate")
_WIDEST = 60


@draw_command()
@click.argument("task", required=False, type=LocalName(), metavar="[NAME|FILE]")
@click.option("--set", "values", multiple=True, metavar="PATH=VALUE", help="Set a value first; may be repeated.")
@click.option("--yaml", "as_yaml", is_flag=True, help="Show it as a task file, to save and to change.")
def tasks(task: str | None, values: tuple[str, ...], as_yaml: bool) -> None:
    """List the built-in tasks; with a NAME or a FILE, check it and show each value and where it comes from.

    A FILE is YAML or JSON: `like: NAME`, and what differs. See `draw init` for one of your own images.

    Exits with 0, or 1 where the task is none, with a line for each mistake.
    """
    try:
        if task is None:
            if values or as_yaml:
                raise ValueError("--set and --yaml are about one task: name it, such as `draw tasks digits --yaml`.")
            _print_table([_HEADINGS, *(_row(registry.get(name)) for name in registry.NAMES)])
            return
        chosen = task_file.load(task, values)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if as_yaml:
        is_built_in = chosen.name in registry.NAMES
        if is_built_in:
            click.echo(f"# {chosen.title}: save as NAME.yaml, delete what you do not change, draw run --task NAME.yaml")
        click.echo(task_yaml.whole_task(chosen, like=chosen.name if is_built_in else None), nl=False)
        return
    click.echo(f"{chosen.name}: {chosen.title}, a {chosen.kind.noun}\n")
    _print_table([(path, _text(value), chosen.source(path)) for path, value in chosen.leaves()])


def _print_table(table: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _text(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def _row(task: Task) -> tuple[str, ...]:
    return (
        task.name,
        task.title,
        task.data.address,
        str(task.glimpses),
        str(task.lstm_units),
        str(getattr(task, "latent_size", "-")),
        ", ".join(f"{name} {n}" for name, n in task.window_sizes.items()) or "none",
        f"{task.recipe.steps:,}",
        task.kind.limit_text(getattr(task.gate, task.kind.limit)),
    )
