"""The page's figures in the form that its templates take: tiles of images, players and charts."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.pictures.png import data_uri
from serving.pictures.sheet import tile, to_bytes
from serving.pictures.windows import rectangle, relative_precision

_MAX_VALUES = 1_200_000
"""Pixel values of one figure, so that the page stays small."""
_MAX_SPRITE_WIDTH = 2048


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiles:
    """Small images in as many columns as there is room for, cut out of one sprite."""

    id: str
    sprite: str
    """Data URI of all images."""
    columns: int
    rows: int
    width: int
    height: int
    """Of one image, in pixels."""
    positions: list[str]
    """CSS `background-position` of each image."""
    labels: Sequence[str]
    """A line of text below each image; empty for none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Player:
    """Pictures that are drawn step by step, side by side, with controls."""

    sprite: str
    """Data URI of all frames."""
    spec: Mapping[str, Any]
    """What page.js draws."""
    window_names: Sequence[str]


def affordable_count(wanted: int, values: int) -> int:
    """Returns how many pictures of `values` pixel values one figure may hold: at least 2, at most `wanted`."""
    return max(2, min(wanted, _MAX_VALUES // values))


def tiles(images: np.ndarray, labels: Sequence[str] = ()) -> Tiles:
    """Lays out images [n, H, W, C], n at least 1, uint8 or means in [0, 1], each with its label if there are any."""
    pixels = to_bytes(images)
    count, height, width, _ = pixels.shape
    columns = min(count, max(1, _MAX_SPRITE_WIDTH // width))
    rows = -(-count // columns)
    return Tiles(
        id=f"tiles-{hashlib.sha256(pixels.tobytes()).hexdigest()[:12]}",
        sprite=data_uri(tile(pixels, columns)),
        columns=columns,
        rows=rows,
        width=width,
        height=height,
        positions=[f"{_position(i % columns, columns)} {_position(i // columns, rows)}" for i in range(count)],
        labels=labels,
    )


def player(
    frames: np.ndarray,
    windows: Mapping[str, tuple[np.ndarray, int]],
    *,
    labels: Sequence[str] = (),
    parts: int = 1,
) -> Player:
    """Lays out the frames of several pictures.

    Args:
      frames: [n, T, H, W, C], uint8 or means in [0, 1]; T is 1 if only the windows move.
      windows: by name, [n, T, 5] in pixels with N, the filters along a side.
      labels: a line of text below each picture; empty for none.
      parts: images side by side in a frame; the second of two has the second window.
    """
    count, steps, height, width, channels = frames.shape
    rectangles = [_rectangles(window, filters) for window, filters in windows.values()]
    return Player(
        sprite=data_uri(tile(to_bytes(frames).reshape(count * steps, height, width, channels), steps)),
        spec={
            "count": count,
            "frames": steps,
            "steps": max([steps, *(window.shape[1] for window in rectangles)]),
            "parts": parts,
            "width": width // parts,
            "height": height,
            "margin": _margin(rectangles, width // parts, height),
            "windows": [window.round(2).tolist() for window in rectangles],
            "labels": list(labels),
        },
        window_names=list(windows),
    )


def chart(kind: str, x: str, y: str, *, log: bool = False, **others: Any) -> dict[str, Any]:
    """Describes a chart to page.js.

    Args:
      kind: `lines` of `series`, each a `name` with lists `x`, rising, and `y`; `bars` of `values` by their `names`,
        with `follow` true to highlight the player's step; `dots`, the same with `intervals` (low, high).
      x: label of the horizontal axis.
      y: label of the vertical axis.
      log: whether the vertical axis is logarithmic.
      **others: what the kind takes, and `limit`: a `name` and `y` of a dashed line, or None.
    """
    return {"kind": kind, "x": {"label": x}, "y": {"label": y, "log": log}, **others}


def _rectangles(window: np.ndarray, filters: int) -> np.ndarray:
    """Returns left, top, right, bottom and the precision relative to the greatest: [n, T, 5] to [n, T, 5]."""
    return np.concatenate([rectangle(window, filters), relative_precision(window[..., 3:4])], axis=-1)


def _margin(rectangles: Sequence[np.ndarray], width: int, height: int) -> int:
    """Returns the pixels around an image that hold nine windows of ten, at most a third of the image."""
    reaches = [0.0]
    for edges in rectangles:
        left, top, right, bottom = np.moveaxis(edges[..., :4], -1, 0)
        beyond = np.stack([-left, -top, right - (width - 1), bottom - (height - 1)]).max(axis=0)
        reaches.append(float(np.quantile(beyond, 0.9)))
    return min(math.ceil(max(reaches)), max(width, height) // 3)


def _position(place: int, count: int) -> str:
    """Returns where CSS puts the background to show image `place` of `count` in a line."""
    return f"{100 * place / (count - 1):.4g}%" if count > 1 else "0%"
