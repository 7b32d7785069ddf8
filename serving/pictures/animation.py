"""Animations of drawings: the canvas step by step, with the window as a rectangle."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from PIL import Image

from serving.pictures.png import save_whole
from serving.pictures.sheet import GREY, enlarge, enlargement, tile, to_bytes, to_colour
from serving.pictures.windows import draw_frame, frame_widths

ANIMATIONS: dict[str, dict[str, Any]] = {
    ".gif": {"format": "GIF", "optimize": False},
    ".webp": {"format": "WEBP", "lossless": True},
}
"""Pillow's options for each kind of file."""

_RED = (224, 32, 32)
_SMALLEST_SIDE = 168
"""Pixels of a drawing in the picture."""
_WIDEST_FRAME = 8
"""Pixels of the picture, for the greatest precision of a drawing."""
_GAP = 4
_COLOURS = 254
"""Colours of the drawings in a GIF; the last two of its palette are the gaps' grey and the window's red."""


def write_animation(
    path: str | os.PathLike[str],
    canvas: np.ndarray,
    window: np.ndarray | None,
    *,
    window_size: int | None,
    columns: int | None = None,
    frame_seconds: float = 0.15,
    last_seconds: float = 1.5,
) -> None:
    """Writes drawings side by side as a GIF or a WebP that repeats, whole or not at all.

    Args:
      path: a .gif, or a .webp, which keeps all colours.
      canvas: [n, T, H, W, C] in [0, 1], C 1 or 3.
      window: [n, T, 5] (centre x, centre y, stride, variance, intensity) in pixels; None for no rectangle.
      window_size: N, the filters along a side of the window.
      columns: drawings in a row; None for rows that are full and about as many as columns, if there can be such.
      frame_seconds: how long a step is shown.
      last_seconds: how long the finished drawing is shown, without a rectangle.

    Raises:
      ValueError: for windows without their size, and for another kind of file.
    """
    kind = os.path.splitext(path)[1]
    if kind not in ANIMATIONS:
        raise ValueError(f"The animation {os.fspath(path)} is neither {' nor '.join(ANIMATIONS)}.")
    if window is not None and window_size is None:
        raise ValueError("The windows' size N is not known; give it to have them drawn.")
    pixels, palette = to_colour(to_bytes(canvas)), None
    grey: Any = GREY
    red: Any = _RED
    if kind == ".gif":
        pixels, palette = _indexed(pixels)
        grey, red = _COLOURS, _COLOURS + 1
    factor = enlargement(canvas.shape[2:4], _SMALLEST_SIDE)
    columns = columns or _full_rows(len(canvas))
    widths = None if window is None else frame_widths(window[..., 3], _WIDEST_FRAME)
    frames = []
    steps = canvas.shape[1]
    for step in (*range(steps), steps):
        drawings = enlarge(pixels[:, min(step, steps - 1)], factor)
        if window is not None and widths is not None and window_size is not None and step < steps:
            for drawing, one, width in zip(drawings, window[:, step], widths[:, step], strict=True):
                draw_frame(drawing, one, window_size, factor=factor, colour=red, width=width)
        frame = Image.fromarray(tile(drawings, columns, gap=_GAP, fill=grey))
        if palette is not None:
            frame.putpalette(palette)
        frames.append(frame)
    options: dict[str, Any] = {
        "save_all": True,
        "append_images": frames[1:],
        "duration": [round(1000 * frame_seconds)] * steps + [round(1000 * last_seconds)],
        "loop": 0,
        **ANIMATIONS[kind],
    }
    save_whole(path, lambda file: frames[0].save(file, **options))


def _full_rows(count: int) -> int:
    """Returns the columns of a sheet that is wider than high and has no empty place, or else of a square one."""
    square = math.ceil(math.sqrt(count))
    return next((columns for columns in range(square, min(count, 2 * square) + 1) if count % columns == 0), square)


def _indexed(pixels: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Makes indices [n, T, H, W] of pixels [n, T, H, W, 3], and one palette for all frames, against flicker."""
    *shape, height, width, _ = pixels.shape
    column = Image.fromarray(pixels.reshape(-1, width, 3)).quantize(_COLOURS, Image.Quantize.MEDIANCUT)
    colours = (column.getpalette() or [])[: 3 * _COLOURS]
    palette = [*colours, *[0] * (3 * _COLOURS - len(colours)), *[GREY] * 3, *_RED]
    return np.asarray(column).reshape(*shape, height, width), palette
