"""`draw models`: the pretrained models, and what they reach."""

from __future__ import annotations

import click

from serving import pretrained
from serving.cli.command_line import draw_command

_HEADINGS = ("name", "title", "test", "steps", "hours", "size")


@draw_command()
def models() -> None:
    """List the pretrained models with what they reach on their test split.

    Wherever a command takes a model, it takes such a name: `draw sample --model mnist`.
    """
    names = pretrained.names()
    if not names:
        raise click.ClickException(f"There are no models here. `pip install {pretrained.DISTRIBUTION}` brings them.")
    rows = [_HEADINGS, *map(_row, names)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(name: str) -> tuple[str, ...]:
    metrics = pretrained.metrics(name)
    if metrics["metric"] == "error":
        result = f"{metrics['value']:.2%} wrong"
    else:
        result = f"{metrics['value']:.2f} ± {metrics['standard_error']:.2f} nats"
    size = sum(path.stat().st_size for path in pretrained.find(name).rglob("*") if path.is_file())
    return (
        name,
        metrics["title"],
        result,
        f"{sum(stage['steps'] for stage in metrics['training']):,}",
        f"{sum(stage['hours'] for stage in metrics['training']):.2g}",
        f"{size / 1e6:.1f} MB",
    )
