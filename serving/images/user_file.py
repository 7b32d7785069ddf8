"""Reads a user's file of images as a model takes them."""

from __future__ import annotations

import os

import numpy as np

from serving.images.bad_image import BadImage
from serving.images.file_reader import Lost, open_local, pieces, rows
from serving.images.image_format import ImageFormat


def read_images(path: str | os.PathLike[str], images: ImageFormat) -> np.ndarray:
    """Reads all images of a file of any format that `draw score-batch` reads: float32 [n, H, W, C] in [0, 1].

    Raises:
      BadImage: if there are none, or any of them is not what the model takes; the message names file and row.
    """
    path = os.fspath(path)
    pixels = []
    for piece in pieces(path, images, open_local):
        if isinstance(piece, Lost):
            raise BadImage(_message(path, piece.number, piece.reason))
        for row in rows(piece, images, open_local):
            if isinstance(row, Lost):
                raise BadImage(_message(path, row.number, row.reason))
            try:
                pixels.append(images.drawn(row.read(), piece.row_id(row, os.path.basename(path))))
            except BadImage as error:
                raise BadImage(_message(path, None if piece.rows == 1 else row.number, str(error))) from error
    if not pixels:
        raise BadImage(f"{path} holds no images; expected at least one of {list(images.shape)}")
    return np.stack(pixels)


def _message(path: str, row: int | None, reason: str) -> str:
    return f"{path}: {reason}" if row is None else f"{path}, row {row}: {reason}"
