"""Images that a generative model draws from noise, and what each step contributes."""

from __future__ import annotations

import math
from typing import Any

from components.run_report import page_figures
from components.run_report.run import Run
from serving.client import seed_rows

_DRAWINGS = 12
_SAMPLES = 60


def gather(run: Run) -> dict[str, Any]:
    """Gathers some drawings step by step, the KL of each step, and many finished samples."""
    task = run.task
    values = math.prod(task.image_shape)
    count = page_figures.affordable_count(_DRAWINGS, task.glimpses * values)
    drawn = run.call("sample_sequence", seed=seed_rows(0, count))
    windows = {}
    if task.window_sizes:
        windows["write window"] = drawn["write_window"], task.window_sizes["write"]
    sample_count = page_figures.affordable_count(_SAMPLES, values)
    samples = run.call("sample", seed=seed_rows(0, sample_count))["image"]
    kl = run.evaluation["overall"]["kl_per_step"]["mean"]
    return {
        "drawings": page_figures.player(drawn["canvas"], windows),
        "kl_per_step": None if None in kl else _kl_chart(kl),
        "kl_total": None if None in kl else sum(kl),
        "samples": page_figures.tiles(samples),
    }


def _kl_chart(kl: list[float]) -> dict[str, Any]:
    steps = [str(step) for step in range(1, len(kl) + 1)]
    values = [round(nats, 4) for nats in kl]
    return page_figures.chart("bars", "time-step", "nats", names=steps, values=values, follow=True)
