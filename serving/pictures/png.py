"""PNG files and other files that are written whole or not at all."""

from __future__ import annotations

import base64
import io
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image


def png_bytes(pixels: np.ndarray, *, optimize: bool = False) -> bytes:
    """Encodes pixels [H, W, C] uint8, C 1 or 3."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, format="PNG", optimize=optimize)
    return file.getvalue()


def data_uri(pixels: np.ndarray) -> str:
    """Encodes pixels [H, W, C] uint8 as an image inside a page; as small as a PNG gets."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(pixels, optimize=True)).decode()}"


def save_png(pixels: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Writes pixels [H, W, C] uint8 as `save_whole` does."""
    save_whole(path, lambda file: file.write(png_bytes(pixels)))


def save_whole(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Writes a file whole or not at all, and the folder that it is in.

    Args:
      path: the file.
      write: writes the content into the open file that it is given.

    Raises OSError, which names the file, if it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"Cannot write {path}, for its folder cannot be made: {error.strerror}.") from error
    # Not by tempfile, whose files nobody else may read: the umask says who may.
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(unfinished, "xb") as file:
            write(file)
        os.replace(unfinished, path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        # That of a full disk names no file.
        raise OSError(f"Cannot write {path}: {error.strerror or error}.") from error
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
