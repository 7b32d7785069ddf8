"""Maps of where a model looks in test images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from components.run_report import attention_map, page_figures
from components.run_report.page_figures import Tiles
from components.run_report.run import Run
from serving.client import seed_rows

MAX_IMAGES = 256
"""Test images whose windows make the maps."""
_MAX_STEPS = 16
"""Steps with a map of their own."""


class AttentionMaps(NamedTuple):
    """One window's maps: of all steps together, then of single steps."""

    title: str
    tiles: Tiles
    images: int
    steps: int
    inside: float
    """Fraction of the filters that lie on the image."""


def gather(run: Run) -> dict[str, Any]:
    """Gathers the maps of reading and writing; none for a model without attention."""
    task = run.task
    if not task.window_sizes:
        return {"maps": []}
    images = run.examples(task.data.test).images[:MAX_IMAGES]
    outputs = {f"{name}_window": "[n, T, 5]" for name in task.window_sizes}
    windows = run.call("reconstruct", outputs, image=images, seed=seed_rows(0, len(images)))
    return {
        "maps": [
            attention_maps(title, windows[f"{name}_window"], task.window_sizes[name], task.image_shape)
            for title, name in (("Reading", "read"), ("Writing", "write"))
        ]
    }


def attention_maps(title: str, windows: np.ndarray, filters: int, image_shape: tuple[int, ...]) -> AttentionMaps:
    """Draws the maps of windows [n, T, 5] of `filters` a side, each map scaled by its own maximum."""
    by_step, inside = attention_map.coverage(windows, filters, image_shape)
    steps = len(by_step)
    shown = np.unique(np.linspace(0, steps - 1, min(steps, _MAX_STEPS)).round().astype(int))
    maps = np.stack([by_step.mean(axis=0), *by_step[shown]])
    maxima = maps.max(axis=(1, 2), keepdims=True)
    labels = ["all", *(f"step {step + 1}" for step in shown)]
    tiles = page_figures.tiles(attention_map.colours(maps / np.where(maxima > 0, maxima, 1)), labels)
    return AttentionMaps(title, tiles, len(windows), steps, inside)
