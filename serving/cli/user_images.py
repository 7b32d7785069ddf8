"""The argument IMAGES of a command, and how it is read for the model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from serving.cli.pixel_options import pixel_options
from serving.cli.place_options import LocalPath
from serving.client import BadInput, SignatureCalls
from serving.images.image_format import ImageFormat
from serving.images.user_file import read_images


class UserImages(NamedTuple):
    """A file of images, and how its pixels become the model's."""

    path: Path
    threshold: float | None
    background: tuple[int, int, int] | None
    resize: str | None

    def read(self, model: SignatureCalls) -> np.ndarray:
        """Reads images [n, H, W, C] float32 as the model takes them. Raises BadImage if any is not what it takes."""
        images = model.input_format() or self._format_by_signature(model)
        images = images.with_options(threshold=self.threshold, background=self.background, resize=self.resize)
        return read_images(self.path, images)

    def _format_by_signature(self, model: SignatureCalls) -> ImageFormat:
        metadata = model.metadata()
        if metadata.image_shape is None:
            raise ValueError(f"The model {model.model!r} has no signature that takes images of a fixed size.")
        signature = next((name for name in ("score", "classify") if name in metadata.signatures), None)
        binary = signature is not None and _is_binary(model, signature, metadata.image_shape)
        return ImageFormat(shape=metadata.image_shape, binary=binary)


def image_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the argument IMAGES, which the command takes as UserImages, and its options to a command."""

    @functools.wraps(command)
    def with_images(*arguments: Any, images: Path, threshold: Any, background: Any, resize: Any, **others: Any) -> None:
        command(*arguments, images=UserImages(images, threshold, background, resize), **others)

    argument = click.argument("images", type=LocalPath(exists=True, dir_okay=False, path_type=Path))
    return argument(pixel_options(with_images))


def _is_binary(model: SignatureCalls, signature: str, shape: tuple[int, int, int]) -> bool:
    """Whether the model refuses grey, as the server of a binarised one tells in no other way."""
    inputs = {"image": np.full((1, *shape), 0.5, np.float32)}
    if signature == "score":
        inputs["seed"] = np.zeros((1, 2), np.int64)
    try:
        model.predict(signature, inputs)
    except BadInput:
        return True
    return False
