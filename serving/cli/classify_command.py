"""`draw classify`: the classes of a user's images."""

from __future__ import annotations

import click

from serving.cli.command_line import draw_command
from serving.cli.server_options import asks_a_model
from serving.cli.user_images import UserImages, image_arguments
from serving.client import SignatureCalls


@draw_command()
@image_arguments
@asks_a_model
def classify(model: SignatureCalls, images: UserImages) -> None:
    """Classify images: the likeliest class of each, with its probability.

    IMAGES is as for `draw score`.
    """
    answer = model.classify(images.read(model))
    names = model.class_names()
    click.echo("image  label  probability" + ("  class" if names else ""))
    for place, (label, probabilities) in enumerate(zip(answer.label, answer.probabilities, strict=True)):
        # A server's task need not fit its answers.
        name = f"       {names[label]}" if label < len(names) else ""
        click.echo(f"{place:<5}  {label:<5}  {probabilities[label]:.4f}{name}")
