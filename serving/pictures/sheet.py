"""Sheets of images in rows and columns, as arrays of pixels."""

from __future__ import annotations

import numpy as np

from serving.pictures.windows import draw_frame, frame_widths

_GAP = 2
GREY = 96
"""Between the images' black and white, so that the edge of either can be seen."""
_SMALLEST_SIDE = 56
"""Pixels of an image on a sheet; a smaller one is enlarged by a whole factor."""
_VERMILION = (213, 94, 0)
"""A colour that all kinds of colour vision tell from every grey."""
_WIDEST_FRAME = 3


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Converts means in [0, 1] to uint8; what lies beyond is clipped. What is uint8 already stays as it is."""
    images = np.asarray(images)
    return images if images.dtype == np.uint8 else np.rint(255 * images.clip(0, 1)).astype(np.uint8)


def enlargement(sides: tuple[int, ...], smallest: int) -> int:
    """Returns the whole factor by which an image's shorter side gets `smallest` pixels or more."""
    return -(-smallest // min(sides))


def enlarge(images: np.ndarray, factor: int) -> np.ndarray:
    """Enlarges images [n, H, W, ...], each pixel to a square of factor x factor pixels."""
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def tile(images: np.ndarray, columns: int, *, gap: int = 0, edge: int = 0, fill: int = 0) -> np.ndarray:
    """Puts images [n, H, W, ...] into rows of `columns`: one array [height, width, ...].

    Args:
      images: all of one size.
      columns: images in a row; the last row may have fewer.
      gap: pixels between images.
      edge: pixels around all of them.
      fill: the value of gaps, edge and what is left of the last row.
    """
    count, height, width = images.shape[:3]
    rows = -(-count // columns)
    size = (rows * (height + gap) - gap + 2 * edge, columns * (width + gap) - gap + 2 * edge)
    whole = np.full((*size, *images.shape[3:]), fill, images.dtype)
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        top, left = edge + row * (height + gap), edge + column * (width + gap)
        whole[top : top + height, left : left + width] = image
    return whole


def sheet_in_rows(images: np.ndarray, columns: int) -> np.ndarray:
    """Makes a sheet of images [n, H, W, C] in rows of `columns`, with gaps between and around: uint8 [h, w, C].

    Small images are enlarged. The images are uint8 or means in [0, 1].
    """
    pixels = enlarge(to_bytes(images), enlargement(images.shape[1:3], _SMALLEST_SIDE))
    return tile(pixels, columns, gap=_GAP, edge=_GAP, fill=GREY)


def sheet(images: np.ndarray, windows: np.ndarray | None = None, *, filters: int = 0) -> np.ndarray:
    """Makes a sheet of images in their rows and columns, like `sheet_in_rows`: uint8 [h, w, C], C = 3 with windows.

    Args:
      images: [rows, columns, B, A, C], uint8 or means in [0, 1]. Small ones are enlarged.
      windows: [rows, columns, 5] in pixels; each is drawn as a frame around its filters' centres, the wider the more
        precise they are. None for no frames.
      filters: N, along a side of a window.
    """
    rows, columns, *shape = images.shape
    factor = enlargement(images.shape[2:4], _SMALLEST_SIDE)
    pixels = enlarge(to_bytes(images).reshape(rows * columns, *shape), factor)
    if windows is not None:
        pixels = to_colour(pixels)
        widths = frame_widths(windows[..., 3], _WIDEST_FRAME).ravel()
        for image, window, width in zip(pixels, windows.reshape(-1, 5), widths, strict=True):
            draw_frame(image, window, filters, factor=factor, colour=_VERMILION, width=width)
    return tile(pixels, columns, gap=_GAP, edge=_GAP, fill=GREY)


def to_colour(pixels: np.ndarray) -> np.ndarray:
    """Copies pixels [..., C] of 1 or 3 channels to pixels of 3."""
    return np.broadcast_to(pixels, (*pixels.shape[:-1], 3)).copy()
