"""`draw sequence`: how the model draws, as an animation."""

from __future__ import annotations

from pathlib import Path

import click

from serving.cli.command_line import draw_command
from serving.cli.number_options import IMAGES, INT64
from serving.cli.place_options import LocalPath
from serving.cli.server_options import asks_a_model
from serving.client import SignatureCalls
from serving.pictures.animation import ANIMATIONS, write_animation
from trainer import tasks


@draw_command()
@click.option("-n", "count", type=IMAGES, default=1, show_default=True, help="How many drawings.")
@click.option("--seed", type=INT64, default=0, show_default=True, help="That of `draw sample` gives the same images.")
@click.option(
    "-o",
    "--output",
    type=LocalPath(dir_okay=False, path_type=Path),
    default="drawing.gif",
    show_default=True,
    help="An animated .gif or .webp.",
)
@click.option(
    "--window-size",
    type=click.IntRange(2, 1000),
    help="N, the filters along a side of the write window.  [default: that of the model]",
)
@click.option("--columns", type=IMAGES, help="Drawings in a row.  [default: so that no place is empty]")
@asks_a_model
def sequence(
    model: SignatureCalls, count: int, seed: int, output: Path, window_size: int | None, columns: int | None
) -> None:
    """Show how the model draws: an animation, with the write window as a rectangle.

    The wider the rectangle's border, the more precise are the window's filters.
    """
    if output.suffix not in ANIMATIONS:
        raise ValueError(f"The output {output} is neither {' nor '.join(ANIMATIONS)}.")
    canvas, window = model.sample_sequence(count, seed=seed)
    if window is not None and window_size is None:
        window_size = model.window_size("write") or _write_window_size(model.model)
    write_animation(output, canvas, window, window_size=window_size, columns=columns)
    click.echo(f"{output}  {count:,} drawings of {canvas.shape[1]} steps, seed {seed}")


def _write_window_size(model: str) -> int:
    """Returns N of the task with the model's name, for TF Serving tells only signatures."""
    sizes = tasks.get(model).window_sizes if model in tasks.NAMES else {}
    if "write" not in sizes:
        raise ValueError(
            f"The write window's size N is not known, for the server does not tell it and no task is called {model!r}: "
            "give it with --window-size."
        )
    return sizes["write"]
