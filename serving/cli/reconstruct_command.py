"""`draw reconstruct`: a user's images beside the model's drawings of them."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from serving.cli.command_line import draw_command
from serving.cli.number_options import INT64
from serving.cli.place_options import LocalPath
from serving.cli.server_options import asks_a_model
from serving.cli.user_images import UserImages, image_arguments
from serving.client import SignatureCalls
from serving.pictures.png import save_png
from serving.pictures.sheet import sheet_in_rows

_PAIRS = 4
"""Pairs in a row of the sheet."""


@draw_command()
@image_arguments
@click.option("--seed", type=INT64, default=0, show_default=True, help="Seed of the noise.")
@click.option(
    "-o",
    "--output",
    type=LocalPath(dir_okay=False, path_type=Path),
    default="reconstructions.png",
    show_default=True,
    help="A .png sheet: each image with its drawing to the right.",
)
@asks_a_model
def reconstruct(model: SignatureCalls, images: UserImages, seed: int, output: Path) -> None:
    """Draw images after: a sheet of each image beside the model's drawing of it.

    IMAGES is as for `draw score`.
    """
    if output.suffix != ".png":
        raise ValueError(f"The output {output} is no .png.")
    originals = images.read(model)
    drawings = model.reconstruct(originals, seed=seed).image
    pairs = np.stack([originals, drawings], axis=1).reshape(-1, *originals.shape[1:])
    save_png(sheet_in_rows(pairs, 2 * min(_PAIRS, len(originals))), output)
    click.echo(f"{output}  {len(originals):,} images, each with its drawing to the right")
