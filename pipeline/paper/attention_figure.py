"""Figures 3 and 4: what read attention extracts, and what its transposed filters put back."""

from __future__ import annotations

import dataclasses

import numpy as np

from pipeline.paper.figure_page import FAINT, GAP, Caption, Grid, Page, some_steps, step_names, style
from serving.pictures import windows
from serving.pictures.windows import relative_precision

_COLUMNS = 8
"""Columns for steps, at most."""
_NUMBERS = 45
"""Dots for a patch's stride and width."""


@style
def patches(caption: Caption, image: np.ndarray, window: np.ndarray, size: int) -> Page:
    """Draws two rows for each image [n, H, W, C]: its filters at some of the steps, and the patches they extract.

    window: [n, T, 5] of size x size filters.
    """
    steps = some_steps(window.shape[1], _COLUMNS)
    grid = Grid(rows=len(image), columns=len(steps), image_shape=image.shape[1:])
    _, _, _, side = _square(size, 0, 0, *grid.tile)
    grid = dataclasses.replace(grid, below=GAP + side + _NUMBERS)
    description = (
        f"Above, the image with the centres of the {size} × {size} filters and the rectangle that they span, the "
        f"thicker the more precise; below, the patch of {size} × {size} that they extract, scaled to the greatest "
        "value of the row. δ is the filters' stride and σ their standard deviation, in pixels: a small δ zooms in, a "
        "large σ blurs."
    )
    page = Page.of_grid(caption, description, grid, step_names(steps))
    precision = relative_precision(window[..., 3])
    for row, picture in enumerate(image):
        seen = window[row, steps]
        # Without the intensity gamma, which makes the encoder's view brighter or darker as a whole.
        patch = _scaled(np.stack([windows.extract(picture, one, size) / one[4] for one in seen]))
        for column, step in enumerate(steps):
            left, top, width, height = grid.place(row, column)
            tile = page.image(left, top, width, height, picture)
            tile.window(seen[column], size, precision[row, step])
            tile.dots(*windows.filter_centres(seen[column], size))
            left += (width - side) / 2
            page.image(left, top + height + GAP, side, side, patch[column])
            text = f"δ {seen[column, 2]:.1f}   σ {np.sqrt(seen[column, 3]):.1f}"
            page.text(left + side / 2, top + height + GAP + side + 8, text, size=7, color=FAINT, ha="center")
    return page


@style
def put_back(caption: Caption, image: np.ndarray, window: np.ndarray, size: int) -> Page:
    """Draws each image [n, H, W, C] with the patch of its window [n, 5], the patch put back, and two of the filters."""
    grid = Grid(rows=len(image), columns=5, image_shape=image.shape[1:], widest=354)
    description = (
        f"From left to right: the image with the read window; the patch that its {size} × {size} filters extract; the "
        "patch put back by the same filters, transposed; and the first and the last of the filters alone, those of the "
        "patch's corners. All but the image are scaled to their greatest value."
    )
    page = Page.of_grid(caption, description, grid, ["image", "patch", "put back", "first filter", "last filter"])
    precision = relative_precision(window[..., 3])
    for row, (picture, seen) in enumerate(zip(image, window, strict=True)):
        patch = windows.extract(picture, seen, size)
        f_x, f_y = windows.filterbank(seen, picture.shape, size)
        page.image(*grid.place(row, 0), picture).window(seen, size, precision[row])
        page.image(*_square(size, *grid.place(row, 1)), _scaled(patch))
        page.image(*grid.place(row, 2), _scaled(windows.put_back(patch, seen, picture.shape)))
        for column, corner in ((3, 0), (4, -1)):
            page.image(*grid.place(row, column), _scaled(np.outer(f_y[corner], f_x[corner])[..., None]))
    return page


def most_zoomed(window: np.ndarray) -> np.ndarray:
    """Picks from windows [n, T, 5] those of the smallest stride, [n, 5]."""
    return window[np.arange(len(window)), window[..., 2].argmin(axis=1)]


def _scaled(image: np.ndarray) -> np.ndarray:
    return image / max(image.max(), np.finfo(np.float64).tiny)


def _square(size: int, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Returns the largest centred square whose side is a whole multiple of `size` dots."""
    side = max(1, int(min(width, height) // size)) * size
    return left + (width - side) // 2, top + (height - side) // 2, side, side
