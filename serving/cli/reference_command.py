"""`draw reference`: writes beside a model what it scores on images of its own kind, which other images compare with."""

from __future__ import annotations

import os
from typing import Any

import click

from serving import pretrained
from serving.cli.command_line import draw_command, input_option
from serving.cli.pixel_options import pixel_options
from serving.cli.place_options import LocalName, readable_by_beam
from serving.file_systems import connect
from serving.native_output import quiet_native_code
from serving.reference.model_reference import REFERENCE_FILE


@draw_command()
@click.argument("model", type=LocalName(), metavar="MODEL")
@input_option
@click.option("--split", default="validation", show_default=True, help="What to call these images.")
@click.option("--overwrite", is_flag=True, help="Replace a reference that is there.")
@pixel_options
def reference(model: str, inputs: tuple[str, ...], split: str, overwrite: bool, **pixels: Any) -> None:
    """Write what MODEL scores on images of the kind that it was trained on, as its assets/reference.json.

    MODEL is a SavedModel's folder, or one of numbered versions, of which the newest is meant, or a pretrained model's
    name. The images must not be those that it was trained on: it scores these better than any others, and most new
    images would seem unusual. A --flag-rate of 0.001 needs 1,000 of them, and 2,000 where both sides count.

    The pipeline and `draw train` make a reference of the validation split by themselves.
    """
    try:
        with quiet_native_code() as terminal:
            # Beam and TensorFlow, which take seconds to import.
            from serving.batch.saved_model_scorer import image_format
            from serving.batch.split_reference import measure_reference, write_reference
            from serving.images.input_files import find_inputs, list_files
            from serving.images.reading import open_file
            from serving.saved_model import newest_version

            model_dir = newest_version(pretrained.resolve(model))
            if os.path.exists(os.path.join(model_dir, REFERENCE_FILE)) and not overwrite:
                raise ValueError(f"{os.path.join(model_dir, REFERENCE_FILE)} is there already: --overwrite it.")
            images = image_format(model_dir).with_options(**pixels)
            names = [readable_by_beam(name) for name in inputs]
            connect(names)
            files = [file.path for file in list_files(find_inputs(names))]
            click.echo(f"scoring the images of {len(files):,} file{'s'[: len(files) != 1]}", file=terminal)
            measured = measure_reference(model_dir, files, split=split, images=images, open_file=open_file)
            write_reference(model_dir, measured)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    bound = measured.scores["nll_bound"]
    low, middle, high = (bound.quantile(share) for share in (0.025, 0.5, 0.975))
    click.echo(f"{measured.count:,} images; the bound of half of them is at most {middle:.1f} nats, and of 95% of them")
    click.echo(f"between {low:.1f} and {high:.1f} nats")
    click.echo(os.path.join(model_dir, REFERENCE_FILE))
