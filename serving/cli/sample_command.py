"""`draw sample`: images from a model server."""

from __future__ import annotations

import math
from pathlib import Path

import click
import numpy as np

from serving.cli.command_line import draw_command
from serving.cli.number_options import IMAGES, INT64
from serving.cli.place_options import LocalPath
from serving.cli.server_options import asks_a_model
from serving.client import SignatureCalls
from serving.pictures.png import save_png, save_whole
from serving.pictures.sheet import sheet_in_rows


@draw_command()
@click.option("-n", "count", type=IMAGES, default=64, show_default=True, help="How many images.")
@click.option("--seed", type=INT64, default=0, show_default=True, help="The same seed gives the same images.")
@click.option(
    "-o",
    "--output",
    type=LocalPath(dir_okay=False, path_type=Path),
    default="samples.png",
    show_default=True,
    help="A sheet as .png, or the numbers, float32 [n, H, W, C], as .npy.",
)
@click.option("--columns", type=IMAGES, help="Columns of the sheet.  [default: as many as rows]")
@asks_a_model
def sample(model: SignatureCalls, count: int, seed: int, output: Path, columns: int | None) -> None:
    """Draw images: a sheet of samples from a model server."""
    if output.suffix not in (".png", ".npy"):
        raise ValueError(f"The output {output} is neither .png nor .npy.")
    images = model.sample(count, seed=seed)
    if output.suffix == ".npy":
        save_whole(output, lambda file: np.save(file, images))
    else:
        save_png(sheet_in_rows(images, columns or math.ceil(math.sqrt(count))), output)
    click.echo(f"{output}  {count:,} images of {images.shape[1]} x {images.shape[2]}, seed {seed}")
