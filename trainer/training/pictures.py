"""Sheets of images for TensorBoard, composed in NumPy: samples, and steps with the windows of attention."""

from __future__ import annotations

import numpy as np

_SMALLEST_SIDE = 56
"""Pixels of an image on the sheet; a smaller one is enlarged by a whole factor, each pixel a square."""
_GAP, _GAP_GREY = 2, 96
_FRAME = (213, 94, 0)
"""Vermilion, which the colour-blind can tell from all greys."""
_WIDEST_FRAME = 3


def sheet(images: np.ndarray, windows: np.ndarray | None = None, *, filters: int = 0) -> np.ndarray:
    """The images in their rows and columns, as TensorBoard takes one: uint8 [1, height, width, C], C = 3 with windows.

    Args:
      images: [rows, columns, B, A, C] in [0, 1].
      windows: [rows, columns, 5] as `attention.pixels` gives them: each a frame around the filters' centres, the wider
        the more precise they are. None for no frames.
      filters: N, along a side of a window.
    """
    rows, columns, height, width = images.shape[:4]
    factor = -(-_SMALLEST_SIDE // min(height, width))
    pixels = np.rint(255 * images.clip(0, 1)).astype(np.uint8).repeat(factor, axis=2).repeat(factor, axis=3)
    if windows is not None:
        pixels = np.broadcast_to(pixels, (*pixels.shape[:4], 3)).copy()
        precision = 1 / np.sqrt(np.maximum(windows[..., 3], np.finfo(np.float32).tiny))
        borders = np.rint(_WIDEST_FRAME * precision / precision.max()).clip(1).astype(int)
        for place in np.ndindex(rows, columns):
            _frame(pixels[place], windows[place], filters, factor, borders[place])
    step_down, step_right = height * factor + _GAP, width * factor + _GAP
    whole = np.full((rows * step_down - _GAP, columns * step_right - _GAP, pixels.shape[4]), _GAP_GREY, np.uint8)
    for row, column in np.ndindex(rows, columns):
        top, left = row * step_down, column * step_right
        whole[top : top + height * factor, left : left + width * factor] = pixels[row, column]
    return whole[None]


def some_steps(steps: int, most: int = 10) -> np.ndarray:
    """Up to `most` of the steps 0 to steps - 1, evenly spaced, the first and the last among them."""
    return np.unique(np.rint(np.linspace(0, steps - 1, min(steps, most))).astype(int))


def _frame(pixels: np.ndarray, window: np.ndarray, filters: int, factor: int, border: int) -> None:
    """Paints the frame into the enlarged image [height, width, 3], as much of it as there is image."""
    height, width, _ = pixels.shape
    centre_x, centre_y, stride = window[:3].astype(np.float64)
    reach = (filters - 1) / 2 * stride
    # (0, 0) is the centre of the first pixel. Beyond the image by more than its size nothing is seen.
    limit = 2 * max(height, width)
    edges = np.array([centre_x - reach, centre_y - reach, centre_x + reach, centre_y + reach])
    left, top, right, bottom = np.rint((edges + 0.5) * factor).clip(-limit, limit).astype(int)
    for first, last in ((top, top + border), (bottom - border, bottom)):
        pixels[max(first, 0) : max(last, 0), max(left, 0) : max(right, 0)] = _FRAME
    for first, last in ((left, left + border), (right - border, right)):
        pixels[max(top, 0) : max(bottom, 0), max(first, 0) : max(last, 0)] = _FRAME
