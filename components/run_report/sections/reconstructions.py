"""Test images, and what a generative model draws after reading them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from components.run_report import attention_map, page_figures
from components.run_report.model import seeds
from components.run_report.run import Run
from components.run_report.sprite import to_bytes

_PLAYED = 6
_PAIRS = 24


def gather(run: Run) -> dict[str, Any]:
    """Gathers some reconstructions step by step beside their images, and many finished ones."""
    task = run.task
    values = 2 * math.prod(task.image_shape)
    images = run.images(task.data.test).pixels
    played = images[: page_figures.affordable_count(_PLAYED, task.glimpses * values)]
    drawn = run.model.ask(
        "reconstruct", ("canvas", "read_window", "write_window"), image=played, seed=seeds(len(played))
    )
    frames = to_bytes(drawn["canvas"])
    windows = {
        f"{name} window": attention_map.rectangles(drawn[f"{name}_window"], size)
        for name, size in task.window_sizes.items()
    }
    beside = np.concatenate([np.broadcast_to(played[:, None], frames.shape), frames], axis=3)
    paired = images[: page_figures.affordable_count(_PAIRS, values)]
    reconstructions = run.model.ask("reconstruct", ("image",), image=paired, seed=seeds(len(paired)))["image"]
    return {
        "drawings": page_figures.player(beside, windows, parts=2),
        "pairs": page_figures.tiles(np.concatenate([paired, to_bytes(reconstructions)], axis=2)),
    }
