"""The look of the figures: a page of one width, whose parts are placed in dots of the print."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from serving.pictures.png import save_whole
from serving.pictures.sheet import to_bytes
from serving.pictures.windows import rectangle

DOTS_PER_INCH = 300
MARGIN = 60
BODY = 1830
"""Dots between the margins of the widest page; with them 6.5 inches."""
GAP = 15

INK, FAINT, RULE = "#1a1a1a", "#6b6b6b", "#b8b8b8"
# Of Okabe and Ito's colours, which the colour-blind can tell apart.
VERMILION, BLUE, SKY = "#d55e00", "#0072b2", "#56b4e9"

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
    }
)
"""Decorates whatever draws or saves a page."""

_TOP = 140
"""Dots above the description's first line."""
_LINE = 40
"""Dots from one line of the description to the next."""
_FOOT = 110
_NARROWEST = 1_300
_LARGE = 4
"""Dots for a pixel from which on they are a whole number, for unequal pixels would be visible."""
_HEADINGS = 45
"""Dots above a grid."""
_THINNEST, _THICKEST = 0.5, 1.8
"""Points of a window's border."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caption:
    """The words of a page that name the figure."""

    title: str
    paper: str
    """The figure's number in the paper, such as `Fig. 7`."""
    source: str
    """The task and the model, for the last line."""


class Page:
    """A figure with title, description and a body of `width` x `height` dots, whose top left corner is (0, 0)."""

    def __init__(self, caption: Caption, description: str, *, width: int, height: int) -> None:
        width = max(width, _NARROWEST)
        lines = _wrapped(description, width)
        self._title = caption.title
        self._top = _TOP + _LINE * len(lines)
        self._size = (width + 2 * MARGIN, self._top + height + _FOOT)
        self.figure = Figure(figsize=(self._size[0] / DOTS_PER_INCH, self._size[1] / DOTS_PER_INCH), dpi=DOTS_PER_INCH)
        FigureCanvasAgg(self.figure)
        # For what is drawn upon images; its unit is a dot of the body.
        self._over = self.figure.add_axes((0, 0, 1, 1), autoscale_on=False, frame_on=False, zorder=1)
        self._over.set(xlim=(-MARGIN, width + MARGIN), ylim=(height + _FOOT, -self._top))
        self._over.set_axis_off()
        tag = f"after {caption.paper} of Gregor et al., 2015"
        self.text(0, 75 - self._top, caption.title, size=12, weight="bold", va="baseline")
        self.text(width, 75 - self._top, tag, color=FAINT, ha="right", va="baseline")
        for number, line in enumerate(lines):
            self.text(0, 130 + _LINE * number - self._top, line, va="baseline")
        self.text(0, height + 65, caption.source, size=7, color=FAINT, va="baseline")

    @classmethod
    def of_grid(cls, caption: Caption, description: str, grid: Grid, headings: Iterable[str] = ()) -> Page:
        """Makes a page of a grid's size, with a heading above each column."""
        page = cls(caption, description, width=math.ceil(grid.width), height=math.ceil(grid.height))
        for column, name in enumerate(headings):
            left, top, width, _ = grid.place(0, column)
            page.text(left + width / 2, top - 14, name, size=7.5, color=FAINT, ha="center", va="baseline")
        return page

    def text(self, x: float, y: float, text: str, **how: Any) -> None:
        """Writes text at a place of the body, by default to the right and below."""
        options = {"ha": "left", "va": "top", **how}
        self.figure.text((MARGIN + x) / self._size[0], 1 - (self._top + y) / self._size[1], text, **options)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Adds axes on a part of the body."""
        left, bottom = MARGIN + x, self._size[1] - self._top - y - height
        return self.figure.add_axes(
            (left / self._size[0], bottom / self._size[1], width / self._size[0], height / self._size[1])
        )

    def image(self, x: float, y: float, width: float, height: float, image: np.ndarray) -> Tile:
        """Shows an image [H, W, C] in [0, 1], each of its pixels in whole dots."""
        left, top, across, down = (round(dots) for dots in (x, y, width, height))
        rows = np.arange(down) * image.shape[0] // down
        columns = np.arange(across) * image.shape[1] // across
        dots = np.broadcast_to(to_bytes(image)[rows][:, columns], (down, across, 3))
        self.figure.figimage(dots, xo=MARGIN + left, yo=self._size[1] - self._top - top - down)
        return Tile(self._over, left, top, across / image.shape[1], down / image.shape[0], image.shape[:2])

    @style
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the page as PNG, whole or not at all."""
        metadata = {"Title": self._title, "Software": None}
        save_whole(path, lambda file: self.figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata=metadata))


class Tile(NamedTuple):
    """An image on a page, to be drawn upon; what lies outside it is cut off."""

    axes: Axes
    left: float
    top: float
    across: float
    """Dots of a pixel's width."""
    down: float
    """Dots of a pixel's height."""
    shape: tuple[int, ...]
    """[H, W]."""

    def window(self, window: np.ndarray, size: int, precision: float) -> None:
        """Draws the rectangle of a window's filters, the thicker the more precise, which is from 0 to 1."""
        # Beyond the image by more than its size nothing can be seen, and the renderer's numbers end somewhere.
        limit = 4 * max(self.shape)
        left, top, right, bottom = np.clip(rectangle(window, size), -limit, limit)
        thickness = _THINNEST + precision * (_THICKEST - _THINNEST)
        outline = Rectangle(
            self._place(left, top),
            (right - left) * self.across,
            (bottom - top) * self.down,
            fill=False,
            edgecolor=VERMILION,
            linewidth=thickness,
            # A hairline of white keeps it apart from colours like its own.
            path_effects=[withStroke(linewidth=thickness + 0.5, foreground="white", alpha=0.7)],
        )
        self.axes.add_patch(outline)
        self._cut(outline)

    def dots(self, columns: np.ndarray, rows: np.ndarray) -> None:
        """Draws a dot wherever one of the columns meets one of the rows, in pixels."""
        height, width = self.shape
        columns = columns[(columns > -0.5) & (columns < width - 0.5)]
        rows = rows[(rows > -0.5) & (rows < height - 0.5)]
        self._cut(
            self.axes.scatter(
                *self._place(*np.meshgrid(columns, rows)), s=1.4, color=SKY, edgecolors=INK, linewidths=0.15
            )
        )

    def _place(self, column: Any, row: Any) -> tuple[Any, Any]:
        """Maps pixels to dots; (0, 0) is the centre of the top left pixel."""
        return self.left + (column + 0.5) * self.across, self.top + (row + 0.5) * self.down

    def _cut(self, drawn: Artist) -> None:
        height, width = self.shape
        edge = Rectangle((self.left, self.top), width * self.across, height * self.down)
        drawn.set_clip_path(edge.get_path(), edge.get_patch_transform() + self.axes.transData)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows and columns of images of one shape below a line of headings, as large as the page's width allows."""

    rows: int
    columns: int
    image_shape: tuple[int, ...]
    """[H, W, C]."""
    left: int = 0
    """Dots for text before a row."""
    right: int = 0
    """Dots for text behind a row."""
    below: float = 0
    """Dots for text below a row."""
    apart: int = 0
    """More dots before the last column."""
    widest: int = 300
    """Dots of an image, at most."""

    @property
    def tile(self) -> tuple[float, float]:
        """Width and height of an image in dots: a whole number of them a pixel, where they are large."""
        width = (BODY - self.left - self.right - self.apart - (self.columns - 1) * GAP) / self.columns
        scale = min(width, self.widest) / self.image_shape[1]
        scale = int(scale) if scale >= _LARGE else scale
        return self.image_shape[1] * scale, self.image_shape[0] * scale

    @property
    def width(self) -> float:
        """Dots of all columns and of the text beside them."""
        return self.left + self.columns * (self.tile[0] + GAP) - GAP + self.apart + self.right

    @property
    def height(self) -> float:
        """Dots of all rows and of the headings."""
        return _HEADINGS + self.rows * (self.tile[1] + self.below + GAP) - GAP

    def place(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Left, top, width and height of an image, as Page takes them."""
        width, height = self.tile
        left = self.left + column * (width + GAP) + (self.apart if column == self.columns - 1 else 0)
        return left, _HEADINGS + row * (height + self.below + GAP), width, height


def _wrapped(text: str, width: int) -> list[str]:
    """Breaks text into lines of at most `width` dots at the caption's font size."""
    renderer, font = RendererAgg(1, 1, DOTS_PER_INCH), FontProperties()
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if renderer.get_text_width_height_descent(longer, font, ismath=False)[0] <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def step_names(steps: Iterable[int]) -> list[str]:
    """Returns headings of steps, which count from 0 here and from 1 for readers."""
    first, *others = steps
    return [f"step {first + 1}", *(str(step + 1) for step in others)]


def some_steps(steps: int, most: int) -> list[int]:
    """Returns up to `most` of the steps 0 to steps - 1, evenly spaced from the first to the last."""
    return [int(step) for step in np.unique(np.rint(np.linspace(0, steps - 1, min(steps, most))))]
