"""Figures 6, 8, 9 and 12: generated images, beside the nearest of the training images."""

from __future__ import annotations

import math

import numpy as np

from pipeline.paper.figure_page import FAINT, Caption, Grid, Page, style

_APART, _DISTANCES = 30, 90


@style
def samples(
    caption: Caption, image: np.ndarray, columns: int, nearest: tuple[np.ndarray, np.ndarray] | None = None
) -> Page:
    """Draws rows of `columns` images [n, H, W, C], and in a last column the training images nearest to the one before.

    nearest: the nearest images, one for each row, and their distances, as `nearest.nearest` returns them.
    """
    description = "Images drawn from the prior, as mean probabilities."
    rows = math.ceil(len(image) / columns)
    grid = Grid(rows=rows, columns=columns, image_shape=image.shape[1:])
    if nearest is not None:
        description += (
            " The last column is not drawn: it shows the training image nearest to the drawing at its left, by the L2 "
            "distance over pixels in [0, 1], which stands beside it."
        )
        grid = Grid(rows=rows, columns=columns + 1, image_shape=image.shape[1:], apart=_APART, right=_DISTANCES)
    page = Page.of_grid(caption, description, grid, [] if nearest is None else [*[""] * columns, "nearest"])
    for index, sample in enumerate(image):
        page.image(*grid.place(*divmod(index, columns)), sample)
    if nearest is not None:
        for row, (neighbour, distance) in enumerate(zip(*nearest, strict=True)):
            left, top, width, height = grid.place(row, columns)
            page.image(left, top, width, height, neighbour)
            page.text(left + width + 14, top + height / 2, f"{distance:.2f}", size=7, color=FAINT, va="center")
    return page
