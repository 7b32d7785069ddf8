"""A drawing as it comes about: an animation of the canvas, with the window as a rectangle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from serving.pictures.sheet import enlargement, save, to_bytes

ANIMATIONS: dict[str, dict[str, Any]] = {
    ".gif": {"format": "GIF", "optimize": False},
    ".webp": {"format": "WEBP", "lossless": True},
}
"""The kinds of file, each with what Pillow is told."""

_WINDOW_RED = (224, 32, 32)
_SMALLEST_SIDE = 168
"""Pixels of a drawing in the picture."""
_WIDEST_BORDER = 8
"""Pixels of the picture, for the greatest precision of a drawing."""
_GAP = 4
_GAP_GREY = 96
_RED_INDEX = 255
"""Of a grey picture's palette, whose other 255 colours are greys."""


def write_animation(
    path: str | os.PathLike[str],
    canvas: np.ndarray,
    window: np.ndarray | None,
    *,
    window_size: int | None,
    frame_seconds: float = 0.15,
    last_seconds: float = 1.5,
) -> None:
    """Writes the drawings side by side as a GIF or a WebP that repeats.

    Args:
      path: of the .gif, or of the .webp, which keeps all colours; written whole or not at all.
      canvas: [n, T, H, W, C] in [0, 1], C 1 or 3.
      window: [n, T, 5] (centre x, centre y, stride, variance, intensity) in pixels; None for no rectangle.
      window_size: N, the filters along a side of the window.
      frame_seconds: of a step.
      last_seconds: of the finished drawing.

    Raises:
      ValueError: for windows without their size, and for another kind of file.
    """
    kind = os.path.splitext(path)[1]
    if kind not in ANIMATIONS:
        raise ValueError(f"The animation {os.fspath(path)} is neither {' nor '.join(ANIMATIONS)}.")
    if window is not None and window_size is None:
        raise ValueError("The windows' size N is not known; give it to have them drawn.")
    factor = enlargement(canvas.shape[2:4], _SMALLEST_SIDE)
    borders = None if window is None else border_widths(window[..., 3])
    frames = []
    for step in range(canvas.shape[1]):
        drawings = [_enlarged(image, factor) for image in canvas[:, step]]
        if window is not None and borders is not None and window_size is not None:
            for drawing, parameters, border in zip(drawings, window[:, step], borders[:, step], strict=True):
                red = _RED_INDEX if drawing.mode == "P" else _WINDOW_RED
                draw_rectangle(drawing, parameters, window_size, factor, colour=red, border=int(border))
        frames.append(_side_by_side(drawings))
    # The last is the picture itself, without a rectangle.
    frames.append(_side_by_side([_enlarged(image, factor) for image in canvas[:, -1]]))
    frames = [_of_palette(frame) if kind == ".gif" else frame.convert("RGB") for frame in frames]
    durations = [round(1000 * frame_seconds)] * (len(frames) - 1) + [round(1000 * last_seconds)]
    options: dict[str, Any] = {
        "save_all": True,
        "append_images": frames[1:],
        "duration": durations,
        "loop": 0,
        **ANIMATIONS[kind],
    }
    save(path, lambda file: frames[0].save(file, **options))


def relative_precision(variance: np.ndarray) -> np.ndarray:
    """The precision 1/sigma of windows' filters, as a share of the greatest."""
    precision = 1 / np.sqrt(np.maximum(variance, np.finfo(np.float32).tiny))
    return precision / precision.max()


def border_widths(variance: np.ndarray) -> np.ndarray:
    """The rectangles' borders in pixels of the picture: in proportion to the precision, and at least 1."""
    return np.clip(np.rint(_WIDEST_BORDER * relative_precision(variance)), 1, _WIDEST_BORDER).astype(int)


def window_rectangle(parameters: Sequence[float] | np.ndarray, size: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the filters' centres (Eqs. 19, 20), in pixels of the image, counted from 0."""
    centre_x, centre_y, stride = (float(value) for value in parameters[:3])
    reach = (size - 1) / 2 * stride
    return centre_x - reach, centre_y - reach, centre_x + reach, centre_y + reach


def draw_rectangle(
    picture: Image.Image,
    parameters: np.ndarray,
    size: int,
    factor: int,
    *,
    colour: int | tuple[int, int, int],
    border: int,
) -> None:
    """Draws a window of `size` x `size` filters, [5] in pixels of the image, on the image enlarged by `factor`."""
    # Beyond the picture by more than its size nothing can be seen, and Pillow's integers are of 32 bits.
    limit = 2 * max(picture.size)
    # (0, 0) is the centre of the first pixel, which covers `factor` pixels of the picture.
    corners = [int(np.clip(round((edge + 0.5) * factor), -limit, limit)) for edge in window_rectangle(parameters, size)]
    ImageDraw.Draw(picture).rectangle(corners, outline=colour, width=border)


def _enlarged(image: np.ndarray, factor: int) -> Image.Image:
    """[H, W, C] in [0, 1]: of mode P with the grey palette, or RGB."""
    image = image.repeat(factor, axis=0).repeat(factor, axis=1)
    if image.shape[2] == 1:
        picture = Image.fromarray(np.rint((_RED_INDEX - 1) * image[..., 0].clip(0, 1)).astype(np.uint8))
        picture.putpalette(_palette(grey=True))
        return picture
    return Image.fromarray(to_bytes(image))


def _side_by_side(pictures: list[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    columns = int(np.ceil(np.sqrt(len(pictures))))
    rows = -(-len(pictures) // columns)
    size = (columns * (width + _GAP) - _GAP, rows * (height + _GAP) - _GAP)
    together = Image.new(pictures[0].mode, size, _GAP_GREY if pictures[0].mode == "P" else (_GAP_GREY,) * 3)
    if together.mode == "P":
        together.putpalette(_palette(grey=True))
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        together.paste(picture, (column * (width + _GAP), row * (height + _GAP)))
    return together


def _of_palette(frame: Image.Image) -> Image.Image:
    if frame.mode == "P":
        return frame
    holder = Image.new("P", (1, 1))
    holder.putpalette(_palette(grey=False))
    return frame.quantize(palette=holder, dither=Image.Dither.NONE)


def _palette(grey: bool) -> list[int]:
    """The same for every frame, so that nothing flickers: greys, 216 colours unless grey, and last the window's red."""
    levels = range(0, 256, 51)
    colours = [] if grey else [(red, green, blue) for red in levels for green in levels for blue in levels]
    greys = np.rint(np.linspace(0, 255, _RED_INDEX - len(colours))).astype(int)
    colours = [*((int(level),) * 3 for level in greys), *colours, _WINDOW_RED]
    return [value for colour in colours for value in colour]
