"""The argument IMAGES of a command, and how it is read for the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import numpy as np

from serving.client import SignatureCalls
from serving.image_files import BadImages, read_images

_Command = TypeVar("_Command", bound=Callable[..., None])


def image_arguments(command: _Command) -> _Command:
    """Adds the argument IMAGES and the option --threshold to a command."""
    threshold = click.option(
        "--threshold",
        type=click.FloatRange(0, 1),
        help="Make pixels above it 1 and the others 0, for a model of binarised images.",
    )
    argument = click.argument("images", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    return argument(threshold(command))


def read(model: SignatureCalls, path: Path, threshold: float | None) -> np.ndarray:
    """Reads images [n, H, W, C] float32 as the model takes them. Raises BadImages if the file holds none."""
    image_shape = model.metadata().image_shape
    if image_shape is None:
        raise BadImages(f"The model {model.model!r} has no signature that takes images of a fixed size.")
    images = read_images(path, image_shape)
    return images if threshold is None else (images > threshold).astype(np.float32)
