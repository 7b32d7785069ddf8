"""The look of the figures: a page of one width, whose parts are placed in dots of the print."""

from __future__ import annotations

import dataclasses
import math
import os
import textwrap
from collections.abc import Iterable

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from serving.animation import window_rectangle
from serving.sheet import save

DOTS_PER_INCH = 300
MARGIN = 60
BODY = 1830
"""Dots between the margins; with them 6.5 inches."""
GAP = 15

INK, FAINT, RULE = "#1a1a1a", "#6b6b6b", "#b8b8b8"
# Of Okabe and Ito's colours, which the colour-blind can tell apart.
VERMILION, BLUE = "#d55e00", "#0072b2"

style = mpl.rc_context(
    {
        "font.family": "STIXGeneral",
        "mathtext.fontset": "stix",
        "font.size": 8.5,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.labelsize": 8.5,
        "axes.edgecolor": RULE,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": FAINT,
        "ytick.labelcolor": FAINT,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "figure.facecolor": "white",
        "image.cmap": "gray",
        # Each pixel a square: the places of the images are whole dots, and whole multiples of their pixels.
        "image.interpolation": "nearest",
        "image.resample": False,
    }
)
"""Decorates whatever draws or saves a page."""

_TOP = 170
"""Dots above the caption's first line."""
_LINE = 40
"""Dots from one line of the caption to the next."""
_CAPTION_LETTERS = 124
_FOOT = 110
_HEADINGS = 45
"""Dots above a grid."""
_THINNEST, _THICKEST = 0.5, 2.4
"""Points of a window's border."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    """What stands on a page beside its pictures."""

    title: str
    paper: str
    """Which of the paper's figures it is, such as `Fig. 7`."""
    source: str
    """Whose model and which seed, for the last line."""


class Page:
    """A figure with its title, its caption and `height` dots for the body, whose top left corner is (0, 0)."""

    def __init__(self, words: Words, caption: str, height: int) -> None:
        lines = textwrap.wrap(caption, _CAPTION_LETTERS)
        self._top = _TOP + _LINE * len(lines)
        self._size = (BODY + 2 * MARGIN, self._top + height + _FOOT)
        self._title = words.title
        self.figure = Figure(figsize=(self._size[0] / DOTS_PER_INCH, self._size[1] / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
        FigureCanvasAgg(self.figure)
        self.text(0, 75 - self._top, words.title, size=12, weight="bold", va="baseline")
        self.text(
            BODY, 75 - self._top, f"after {words.paper} of Gregor et al., 2015", color=FAINT, ha="right", va="baseline"
        )
        for number, line in enumerate(lines):
            self.text(0, 130 + _LINE * number - self._top, line, va="baseline")
        self.text(0, height + 65, words.source, size=7, color=FAINT, va="baseline")

    def text(self, x: float, y: float, text: str, **style: object) -> None:
        """Writes it at a place of the body, by default to the right of and below it."""
        options = {"ha": "left", "va": "top", **style}
        self.figure.text((MARGIN + x) / self._size[0], 1 - (self._top + y) / self._size[1], text, **options)

    def headings(self, grid: Grid, names: Iterable[str]) -> None:
        """Writes a name above each column of the grid."""
        for column, name in enumerate(names):
            left, top, width, _ = grid.place(0, column)
            self.text(left + width / 2, top - 14, name, size=7.5, color=FAINT, ha="center", va="baseline")

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes on a part of the body."""
        left, bottom = MARGIN + x, self._size[1] - self._top - y - height
        return self.figure.add_axes(
            (left / self._size[0], bottom / self._size[1], width / self._size[0], height / self._size[1])
        )

    def image(self, x: float, y: float, width: float, height: float, image: np.ndarray) -> Axes:
        """Shows an image [H, W, C] in [0, 1], in whose axes the centre of the top left pixel is (0, 0)."""
        axes = self.axes(x, y, width, height)
        axes.imshow(image[..., 0] if image.shape[2] == 1 else image.clip(0, 1), vmin=0, vmax=1, aspect="auto")
        axes.set_axis_off()
        return axes

    @style
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as PNG, whole or not at all."""
        metadata = {"Title": self._title, "Software": None}
        save(path, lambda file: self.figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata=metadata))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows and columns of images of one shape below a line of headings, as large as the page's width allows."""

    rows: int
    columns: int
    image_shape: tuple[int, ...]
    """[H, W, C]."""
    left: int = 0
    """Dots for words before a row."""
    right: int = 0
    """Dots for words behind a row."""
    below: int = 0
    """Dots for words below a row."""
    apart: int = 0
    """More dots before the last column."""
    widest: int = 300
    """Dots of an image, at most."""

    @property
    def tile(self) -> tuple[float, float]:
        """Width and height of an image in dots: a whole number of them a pixel, unless there are too many pixels."""
        width = (BODY - self.left - self.right - self.apart - (self.columns - 1) * GAP) / self.columns
        scale = min(width, self.widest) / self.image_shape[1]
        scale = int(scale) if scale >= 1 else scale
        return self.image_shape[1] * scale, self.image_shape[0] * scale

    @property
    def height(self) -> int:
        """Dots of all rows and of the headings."""
        return math.ceil(_HEADINGS + self.rows * (self.tile[1] + self.below + GAP) - GAP)

    def place(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Left, top, width and height of an image, as Page takes them."""
        width, height = self.tile
        left = self.left + column * (width + GAP) + (self.apart if column == self.columns - 1 else 0)
        return left, _HEADINGS + row * (height + self.below + GAP), width, height


def draw_window(axes: Axes, window: np.ndarray, size: int, precision: float, colour: str = VERMILION) -> None:
    """Draws the rectangle of a window's filters, the thicker the more precise, which is from 0 to 1."""
    # Beyond the image by more than its size nothing can be seen, and the renderer's numbers end somewhere.
    limit = 4 * max(*axes.get_xlim(), *axes.get_ylim())
    left, top, right, bottom = np.clip(window_rectangle(window, size), -limit, limit)
    width = _THINNEST + precision * (_THICKEST - _THINNEST)
    # A hairline of white keeps it apart from colours like its own.
    casing = [withStroke(linewidth=width + 0.5, foreground="white", alpha=0.7)]
    axes.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, ec=colour, lw=width, path_effects=casing)
    )


def step_names(steps: Iterable[int]) -> list[str]:
    """Headings of steps that are counted from 0; a person counts from 1."""
    first, *others = steps
    return [f"step {first + 1}", *(str(step + 1) for step in others)]


def some_steps(steps: int, most: int) -> list[int]:
    """Up to `most` of the steps 0 to steps - 1, evenly spaced, the first and the last among them."""
    return [int(step) for step in np.unique(np.rint(np.linspace(0, steps - 1, min(steps, most))))]
