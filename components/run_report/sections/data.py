"""The data: how many, of what classes, how bright, and what they look like on average."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.run_report import markup
from components.run_report.run import FIRST_EXAMPLES, Run
from components.run_report.sprite import to_bytes

_BINS = 32
_EXAMPLES = 24


def body(run: Run) -> str:
    """Of each split."""
    task = run.task
    roles = {"trained on": task.data.train, "watched while training": task.data.validation, "gate": task.data.test}
    rows = []
    for split in task.data.splits:
        pixels = run.images(split).pixels
        uses = ", ".join(use for use, name in roles.items() if name == split)
        rows.append((split, uses, f"{run.counts[split]:,}", f"{pixels.mean() / 255:.4f}"))
    parts = [markup.table("Splits", ("split", "used for", "images", "mean intensity"), rows, numeric=(2, 3))]
    train = run.images(task.data.train)
    some = len(train.pixels) < run.counts[task.data.train]
    of_which = f"the first {FIRST_EXAMPLES:,} images" if some else "the images"
    parts.append(
        markup.tiles(train.pixels[:_EXAMPLES], f"The first images of split {task.data.train!r}.", describe="example")
    )
    means, names = [train.pixels.mean(axis=0)], ["all"]
    if train.labels is not None:
        for label in np.unique(train.labels):
            means.append(train.pixels[train.labels == label].mean(axis=0))
            names.append(str(label))
    brightest = max(mean.max() for mean in means) or 1
    parts.append(
        markup.tiles(
            to_bytes(np.stack(means) / brightest),
            f"The mean of {of_which} of split {task.data.train!r}{', and of each class' if len(names) > 1 else ''}, "
            f"{255 / brightest:.3g} times as bright, so that the brightest pixel is white.",
            labels=names,
            describe="mean image",
            smallest=72,
        )
    )
    charts = []
    if train.labels is not None:
        found, counts = np.unique(train.labels, return_counts=True)
        spec = {
            "kind": "bars",
            "x": {"label": "class"},
            "y": {"label": "images"},
            "names": [str(label) for label in found],
            "values": counts.tolist(),
        }
        charts.append(markup.chart(f"Classes of {of_which} of split {task.data.train!r}", spec, kind="short"))
    charts.append(
        markup.chart(
            "Intensities",
            _histogram(run),
            caption="Share of the pixels in each of 32 steps from black, 0, to white, 255; the axis is logarithmic.",
            kind="short",
        )
    )
    return "".join(parts) + f'<div class="charts">{"".join(charts)}</div>'


def _histogram(run: Run) -> dict[str, Any]:
    """By split. A step without a pixel has no point on a logarithmic axis."""
    series = []
    for split in run.task.data.splits:
        pixels = run.images(split).pixels
        counts, edges = np.histogram(pixels, bins=_BINS, range=(0, 256))
        found = counts > 0
        shares = 100 * counts[found] / pixels.size
        series.append(
            {
                "name": split,
                "x": ((edges[:-1] + edges[1:]) / 2)[found].tolist(),
                "y": [float(f"{share:.4g}") for share in shares],
            }
        )
    return {
        "kind": "lines",
        "x": {"label": "intensity"},
        "y": {"label": "percent of the pixels", "log": True},
        "points": True,
        "series": series,
        "limit": None,
    }
