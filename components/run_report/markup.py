"""The building blocks of the page as HTML: text, tables, tiles of images, charts and players."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from components.run_report.sprite import data_uri

_MOST_NUMBERS = 1_200_000
"""Of the pictures of one figure, so that the page stays small."""


def number(value: float | None, digits: int = 2, unit: str = "") -> str:
    """With separators; words where there is none."""
    return "not finite" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}{unit}"


def paragraph(text: str, kind: str = "") -> str:
    """Of plain text."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def facts(pairs: Mapping[str, str]) -> str:
    """A list of names with their values."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs.items())
    return f'<dl class="facts">{items}</dl>'


def table(
    caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: Sequence[int] = (), kind: str = ""
) -> str:
    """Of plain text; the columns `numeric` stand on the right. What is wider than the page scrolls in its own box."""

    def cells(row: Sequence[str], tag: str) -> str:
        parts = []
        for column, cell in enumerate(row):
            # The first cell of a row is its heading.
            name = "th" if tag == "th" or column == 0 else "td"
            scope = "" if name == "td" else f' scope="{"col" if tag == "th" else "row"}"'
            parts.append(f"<{name}{scope}{_class('number' if column in numeric else '')}>{escape(cell)}</{name}>")
        return "".join(parts)

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return scrolling(
        f"<table{_class(kind)}><caption>{escape(caption)}</caption><thead><tr>{cells(headings, 'th')}</tr></thead>"
        f"<tbody>{body}</tbody></table>",
        caption,
    )


def scrolling(content: str, label: str) -> str:
    """A box that scrolls sideways where it must, by keyboard too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{content}</div>'


def details(summary: str, content: str) -> str:
    """Shown when it is asked for, and on paper."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def affordable(most: int, numbers: int) -> int:
    """How many pictures of so many numbers each a figure may have."""
    return max(2, min(most, _MOST_NUMBERS // numbers))


def tiles(
    pixels: np.ndarray,
    caption: str,
    *,
    labels: Sequence[str] = (),
    describe: str = "image",
    smallest: int = 56,
) -> str:
    """[n, H, W, C] uint8 as images that flow into as many columns as there is room for.

    Args:
      pixels: n at least 1.
      caption: below them.
      labels: a line of text below each, or none.
      describe: what one is, for those who do not see it.
      smallest: width of a tile in CSS pixels.
    """
    count, height, width, _ = pixels.shape
    columns = min(count, max(1, 2048 // width))
    rows = -(-count // columns)
    name = f"tiles-{hashlib.sha256(pixels.tobytes()).hexdigest()[:12]}"
    items = []
    for place in range(count):
        row, column = divmod(place, columns)
        at = f"{_share(column, columns)}% {_share(row, rows)}%"
        label = f"<span>{escape(labels[place])}</span>" if labels else ""
        alt = escape(f"{describe} {place + 1}" + (f": {labels[place]}" if labels else ""))
        items.append(f'<li><i role="img" aria-label="{alt}" style="background-position:{at}"></i>{label}</li>')
    style = (
        f"#{name} i{{background-image:url({data_uri(pixels, columns)});"
        f"background-size:{100 * columns}% {100 * rows}%;aspect-ratio:{width}/{height}}}"
    )
    return (
        f'<figure class="tiles" id="{name}"><style>{style}</style>'
        f'<ul style="--tile:{smallest}px">{"".join(items)}</ul><figcaption>{escape(caption)}</figcaption></figure>'
    )


def chart(title: str, spec: Mapping[str, Any], *, caption: str = "", kind: str = "") -> str:
    """Drawn by the page's script from `spec`, which it explains."""
    units = escape(spec["y"]["label"])
    zoom = '<button type="button" class="whole" hidden>Whole range</button>' if spec["kind"] == "lines" else ""
    keys = "Arrow keys read values" + (", plus and minus zoom, 0 shows the whole range." if zoom else ".")
    name = escape(f"{title}, {spec['y']['label']} by {spec['x']['label']}. {keys}")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure class="chart {kind}" data-chart="{escape(json.dumps(spec, allow_nan=False))}">'
        f'<header><h3>{escape(title)}</h3><span class="unit">{units}</span>{zoom}</header>'
        f'<output aria-live="polite"></output>'
        f'<div class="frame" tabindex="0" role="group" aria-roledescription="chart" aria-label="{name}"></div>'
        f"{below}</figure>"
    )


def player(
    frames: np.ndarray,
    windows: Mapping[str, np.ndarray],
    *,
    title: str,
    caption: str,
    labels: Sequence[str] = (),
    parts: int = 1,
) -> str:
    """Pictures that come about step by step, side by side, with controls.

    Args:
      frames: [n, T, H, W, C] uint8, or T 1 where only the windows move.
      windows: by what they are called, [n, T, 5] of `attention_map.rectangles`.
      title: of the figure.
      caption: below it.
      labels: a line of text below each.
      parts: images that a frame is made of, side by side; where there are two, each has windows of its own.
    """
    count, steps, height, width, channels = frames.shape
    total = max([steps, *(window.shape[1] for window in windows.values())])
    spec = {
        "count": count,
        "frames": steps,
        "steps": total,
        "parts": parts,
        "width": width // parts,
        "height": height,
        "margin": _margin(list(windows.values()), width // parts, height),
        "windows": [np.round(window.astype(float), 2).tolist() for window in windows.values()],
        "labels": list(labels),
    }
    image = data_uri(frames.reshape(count * steps, height, width, channels), steps)
    boxes = "".join(
        f'<label class="check"><input type="checkbox" checked> <span class="swatch w{place}"></span>'
        f"{escape(name)}</label>"
        for place, name in enumerate(windows)
    )
    return (
        f'<figure class="player" data-player="{escape(json.dumps(spec, allow_nan=False))}"><h3>{escape(title)}</h3>'
        f'<img src="{image}" alt="" hidden><canvas role="img" aria-label="{escape(title)}. {escape(caption)}"></canvas>'
        f'<div class="controls"><button type="button" class="play">Play</button>'
        f'<input type="range" min="1" max="{total}" value="{total}" step="1" aria-label="Time-step">'
        f"<output></output>{boxes}</div><figcaption>{escape(caption)}</figcaption></figure>"
    )


def _margin(windows: Sequence[np.ndarray], width: int, height: int) -> int:
    """Pixels around an image in which nine of ten windows, or a third of an image more, have room."""
    reaches = [0.0]
    for window in windows:
        left, top, right, bottom = np.moveaxis(window[..., :4], -1, 0)
        beyond = np.stack([-left, -top, right - (width - 1), bottom - (height - 1)]).max(axis=0)
        reaches.append(float(np.quantile(beyond, 0.9)))
    return min(math.ceil(max(reaches)), max(width, height) // 3)


def _share(place: int, of: int) -> str:
    """Where CSS puts the background for the tile at `place` of so many in a line, in percent."""
    return f"{100 * place / (of - 1):.4g}" if of > 1 else "0"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
