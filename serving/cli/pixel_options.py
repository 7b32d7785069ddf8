"""The options --threshold, --background and --resize, which say how a user's pixels become the model's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from serving.cli.number_options import SHARE
from serving.images.preparation import RESIZES

_COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "gray": (128, 128, 128)}


class _Colour(click.ParamType):
    name = "colour"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int] | None:
        if not isinstance(value, str):
            return value
        if value.lower() in _COLOURS:
            return _COLOURS[value.lower()]
        digits = value.removeprefix("#")
        try:
            if len(digits) != 6:
                raise ValueError
            red, green, blue = bytes.fromhex(digits)
        except ValueError:
            self.fail(f"{value!r} is no colour; expected black, white, grey, or #rrggbb.", param, ctx)
        return red, green, blue


def pixel_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options --threshold, --background and --resize, which say how stored pixels become the model's."""
    threshold = click.option(
        "--threshold",
        type=SHARE,
        help="Make pixels above it 1 and the others 0, for a model of binarised images; integers are then 0 to 255.",
    )
    background = click.option(
        "--background",
        type=_Colour(),
        metavar="COLOUR",
        help="What lies under the transparent pixels of a picture: black, white, grey or #rrggbb.  "
        "[default: such a picture is refused]",
    )
    resize = click.option(
        "--resize",
        type=click.Choice(RESIZES),
        help="How an image of another size becomes the model's: fit it and pad, fill and cut, or stretch.  "
        "[default: as the model's task says, or else it is refused]",
    )
    return threshold(background(resize(command)))
