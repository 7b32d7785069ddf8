"""Reads images from a user's file as a model takes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

ARRAY = "image"
"""The array to take from an .npz file of several."""


class BadImages(ValueError):
    """The file holds no images that the model takes; the message says what it holds and what was expected."""


def read_images(path: str | os.PathLike[str], image_shape: tuple[int, int, int]) -> np.ndarray:
    """Reads the images of a .npy, .npz or picture file: float32 [n, H, W, C] in [0, 1].

    Integers are divided by 255 if any is above 1. A picture is one image, converted to grey if the model's are.

    Args:
      path: the file.
      image_shape: [H, W, C] of the model's images.

    Raises:
      BadImages: if there are none, or they have another size or range.
    """
    path = Path(path)
    if path.suffix == ".npz":
        images = _from_archive(path)
    elif path.suffix == ".npy":
        images = _load(path)
    else:
        images = _picture(path, image_shape[2])
    return _pixels(_shaped(images, image_shape, path), path)


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadImages(f"{path} cannot be read as arrays: {error}") from error


def _from_archive(path: Path) -> np.ndarray:
    archive = _load(path)
    names = list(archive)
    if ARRAY not in names and len(names) != 1:
        raise BadImages(f"{path} holds the arrays {names}; expected one, or one with the name {ARRAY!r}.")
    try:
        return archive[ARRAY if ARRAY in names else names[0]]
    except ValueError as error:
        raise BadImages(f"{path} cannot be read as arrays: {error}") from error


def decode_picture(file: str | os.PathLike[str] | IO[bytes], channels: int) -> np.ndarray:
    """Decodes a picture file to [H, W, C] uint8, grey if `channels` is 1.

    Raises UnidentifiedImageError if it is no picture, and OSError or SyntaxError if it is broken.
    """
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _picture(path: Path, channels: int) -> np.ndarray:
    try:
        return decode_picture(path, channels)[None]
    except UnidentifiedImageError as error:
        raise BadImages(f"{path} is no picture; expected a .npz or .npy file of arrays, or a picture.") from error
    except (OSError, SyntaxError) as error:
        raise BadImages(f"{path} cannot be read: {error}") from error


def _shaped(images: np.ndarray, image_shape: tuple[int, int, int], path: Path) -> np.ndarray:
    """Adds the axes that may be left out: the channel of grey images, and the row of a single image."""
    height, width, channels = image_shape
    if channels == 1 and images.shape[-2:] == (height, width):
        images = images[..., None]
    if images.shape == image_shape:
        images = images[None]
    if images.ndim != 4 or images.shape[1:] != image_shape or len(images) == 0:
        wanted = f"[n, {height}, {width}, {channels}]" + (f" or [n, {height}, {width}]" if channels == 1 else "")
        raise BadImages(f"{path} holds {images.dtype} {list(images.shape)}; the model takes {wanted}, n at least 1.")
    return images


def _pixels(images: np.ndarray, path: Path) -> np.ndarray:
    if images.dtype == bool:
        return images.astype(np.float32)
    if np.issubdtype(images.dtype, np.integer):
        if images.min() < 0 or images.max() > 255:
            raise BadImages(f"{path} holds {images.min()} to {images.max()}; expected integers from 0 to 255.")
        return images.astype(np.float32) / (255 if images.max() > 1 else 1)
    if not np.issubdtype(images.dtype, np.floating):
        raise BadImages(f"{path} holds {images.dtype}; expected integers, floats or booleans.")
    # The comparison is false for a NaN too.
    if not (images.min() >= 0 and images.max() <= 1):
        raise BadImages(f"{path} holds floats from {images.min():g} to {images.max():g}; expected 0 to 1.")
    return images.astype(np.float32)
