"""`draw interpolate`: a film in which one image becomes another, by way of the model's latent variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from serving import latent_path
from serving.cli.command_line import draw_command
from serving.cli.pixel_options import pixel_options
from serving.cli.place_options import LocalPath
from serving.cli.server_options import asks_a_model
from serving.cli.user_images import UserImages
from serving.client import SignatureCalls
from serving.pictures.animation import ANIMATIONS, write_animation

_FRAME_SECONDS = 0.08
_HELD_FRAMES = 12
"""For how many frames the last image stays before the way back."""
_MOST_DRAWINGS = 10_000
"""Of one way: a film of a quarter of an hour, which is in memory before it is written."""


@draw_command()
@click.argument("images", nargs=-1, required=True, type=LocalPath(exists=True, dir_okay=False, path_type=Path))
@pixel_options
@click.option(
    "--frames",
    type=click.IntRange(1, 1000),
    default=24,
    show_default=True,
    help="Frames from each image to the next.",
)
@click.option(
    "-o",
    "--output",
    type=LocalPath(dir_okay=False, path_type=Path),
    default="film.gif",
    show_default=True,
    help="An animated .gif or .webp.",
)
@asks_a_model
def interpolate(model: SignatureCalls, images: tuple[Path, ...], frames: int, output: Path, **pixels: Any) -> None:
    """Show how one image becomes another: a film of drawings between them, there and back.

    IMAGES are two or more: a picture each, or files of several as for `draw score`. The film shows the model's drawings
    of them and of the latent variables in between.
    """
    if output.suffix not in ANIMATIONS:
        raise ValueError(f"The output {output} is neither {' nor '.join(ANIMATIONS)}.")
    originals = np.concatenate([UserImages(path, **pixels).read(model) for path in images])
    if len(originals) < 2:
        raise ValueError(f"{images[0]} is one image; give two or more, to draw what lies between them.")
    drawn = (len(originals) - 1) * frames + 1
    if drawn > _MOST_DRAWINGS:
        raise ValueError(
            f"{len(originals):,} images with {frames:,} frames from each to the next are {drawn:,} drawings, and a "
            f"film has {_MOST_DRAWINGS:,} at most: give fewer images, or fewer --frames."
        )
    path = latent_path.through(model.encode(originals).z, frames)
    drawings = model.decode(path)
    film = np.concatenate([drawings, np.repeat(drawings[-1:], _HELD_FRAMES, axis=0), drawings[-2::-1]])
    write_animation(output, film[None], None, window_size=None, frame_seconds=_FRAME_SECONDS)
    click.echo(f"{output}  {len(originals):,} images, {frames:,} frames from each to the next, and back")
