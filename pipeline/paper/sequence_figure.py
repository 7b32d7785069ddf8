"""Figures 1, 5, 7 and 10: the steps of a drawing, and where a classifier looks."""

from __future__ import annotations

import numpy as np

from pipeline.paper.figure_page import BLUE, FAINT, VERMILION, Caption, Grid, Page, some_steps, step_names, style
from serving.pictures.windows import relative_precision

_COLUMNS = 10
"""Columns for steps, at most."""
_APART = 20
_LABEL = 130
_RECTANGLE = (
    "The rectangle spans the centres of the {} window's filters; its border is the thicker the more precise they are."
)


@style
def generation(caption: Caption, canvas: np.ndarray, window: np.ndarray | None, window_size: int) -> Page:
    """Draws a row for each drawing: its canvas after some steps with the write window, then the image alone.

    canvas: [n, T, H, W, C] in [0, 1]; window: [n, T, 5] of window_size x window_size filters, None without attention.
    """
    steps = some_steps(canvas.shape[1], _COLUMNS)
    how = (
        _RECTANGLE.format("write") if window is not None else "Without attention each step writes on all of the canvas."
    )
    grid = Grid(rows=len(canvas), columns=len(steps) + 1, image_shape=canvas.shape[2:], apart=_APART)
    description = f"Each row is one drawing: the canvas, as mean probabilities, after the steps named. {how}"
    page = Page.of_grid(caption, description, grid, [*step_names(steps), "image"])
    precision = None if window is None else relative_precision(window[..., 3])
    for row, drawing in enumerate(canvas):
        for column, step in enumerate(steps):
            tile = page.image(*grid.place(row, column), drawing[step])
            if window is not None and precision is not None:
                tile.window(window[row, step], window_size, precision[row, step])
        page.image(*grid.place(row, len(steps)), drawing[-1])
    return page


@style
def glimpses(
    caption: Caption,
    image: np.ndarray,
    window: np.ndarray,
    window_size: int,
    *,
    label: np.ndarray,
    predicted: np.ndarray,
    probability: np.ndarray,
) -> Page:
    """Draws a row for each image [n, H, W, C] with the window of each glimpse, and the predicted class.

    window: [n, T, 5]; label: the name of the image's class; predicted: that of the likeliest, which has that
    probability; [n] each.
    """
    steps = some_steps(window.shape[1], _COLUMNS)
    grid = Grid(rows=len(image), columns=len(steps), image_shape=image.shape[1:], left=_LABEL)
    description = (
        "Each row is one image, and the windows through which the classifier looked at it before it named the class. "
        f"{_RECTANGLE.format('read')} Left: the predicted class, its probability, and the true class where it differs."
    )
    page = Page.of_grid(caption, description, grid, step_names(steps))
    precision = relative_precision(window[..., 3])
    for row in range(len(image)):
        _, top, _, height = grid.place(row, 0)
        right = label[row] == predicted[row]
        page.text(
            0, top + height / 2 - 6, str(predicted[row]), size=13, va="bottom", color=BLUE if right else VERMILION
        )
        text = f"{probability[row]:.0%}" if right else f"{probability[row]:.0%}\nit is {label[row]}"
        page.text(0, top + height / 2 + 6, text, size=7.5, color=FAINT)
        for column, step in enumerate(steps):
            page.image(*grid.place(row, column), image[row]).window(
                window[row, step], window_size, precision[row, step]
            )
    return page
