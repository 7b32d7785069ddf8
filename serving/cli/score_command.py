"""`draw score`: bounds on the negative log-likelihood of a user's images."""

from __future__ import annotations

from pathlib import Path

import click

from serving.cli.command_line import draw_command
from serving.cli.number_options import INT64
from serving.cli.place_options import LocalPath
from serving.cli.score_table import as_csv, as_table
from serving.cli.server_options import asks_a_model
from serving.cli.user_images import UserImages, image_arguments
from serving.client import SignatureCalls
from serving.pictures.png import save_whole
from serving.reference.model_reference import NO_REFERENCE


@draw_command()
@image_arguments
@click.option("--seed", type=INT64, default=0, show_default=True, help="Seed of the noise.")
@click.option("--csv", "print_csv", is_flag=True, help="Print CSV, every image and every step, instead of the table.")
@click.option("-o", "--output", type=LocalPath(dir_okay=False, path_type=Path), help="Write the CSV to this file too.")
@asks_a_model
def score(model: SignatureCalls, images: UserImages, seed: int, print_csv: bool, output: Path | None) -> None:
    """Score images: the bound of each in nats, its parts, and where it falls in the model's reference.

    IMAGES is a file of any format that `draw score-batch` reads: a picture; a .npz or .npy file of [n, H, W] or
    [n, H, W, C], integers from 0 to 255 or floats from 0 to 1; and MNIST's IDX and CSV files among others.
    """
    scores = model.score(images.read(model), seed=seed)
    text = as_csv(scores)
    if output is not None:
        save_whole(output, lambda file: file.write(text.encode()))
    click.echo(text if print_csv else as_table(scores), nl=False)
    if scores.percentile is None and not print_csv:
        click.echo(NO_REFERENCE, err=True)
