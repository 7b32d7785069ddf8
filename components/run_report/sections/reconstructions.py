"""Test images, and what a generative model draws after reading them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from components.run_report import page_figures
from components.run_report.run import Run
from serving.client import seed_rows
from serving.pictures.sheet import to_bytes

_PLAYED = 6
_PAIRS = 24


def gather(run: Run) -> dict[str, Any]:
    """Gathers some reconstructions step by step beside their images, and many finished ones."""
    task = run.task
    values = 2 * math.prod(task.image_shape)
    images = run.examples(task.data.test).images
    played = images[: page_figures.affordable_count(_PLAYED, task.glimpses * values)]
    drawn = run.call("reconstruct", image=played, seed=seed_rows(0, len(played)))
    frames = to_bytes(drawn["canvas"])
    windows = {f"{name} window": (drawn[f"{name}_window"], size) for name, size in task.window_sizes.items()}
    beside = np.concatenate([np.broadcast_to(played[:, None], frames.shape), frames], axis=3)
    paired = images[: page_figures.affordable_count(_PAIRS, values)]
    reconstructions = run.call("reconstruct", image=paired, seed=seed_rows(0, len(paired)))["image"]
    return {
        "drawings": page_figures.player(beside, windows, parts=2),
        "pairs": page_figures.tiles(np.concatenate([paired, to_bytes(reconstructions)], axis=2)),
    }
