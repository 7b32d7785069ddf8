"""The curves of the training, and how long it took."""

from __future__ import annotations

from typing import Any

from components.run_report import page_figures
from components.run_report.event_curves import Curves
from components.run_report.run import Run

_GENERATIVE = (
    ("Bound", "nats an image", "nll_bound"),
    ("Reconstruction", "nats an image", "reconstruction"),
    ("KL of the latents from the prior", "nats an image", "kl"),
)
_CLASSIFIER = (
    ("Error", "percent of the images", "error"),
    ("Cross-entropy", "nats an image", "cross_entropy"),
)
_OPTIMISATION = (
    ("Learning rate", "the step's", "train/learning_rate", False),
    ("Gradient norm", "before it is clipped", "train/gradient_norm", True),
    ("Speed", "images a second", "train/examples_per_second", False),
)


def gather(run: Run) -> dict[str, Any]:
    """Gathers (title, chart) of each metric and of the optimisation; None without any summaries."""
    curves, recipe = run.curves, run.task.recipe
    if not curves.by_tag:
        return {"metrics": None}
    return {
        "duration": _duration(curves.seconds),
        "images_per_second": recipe.steps * recipe.batch_size / curves.seconds if curves.seconds else 0.0,
        "metrics": [
            (title, _metric_chart(run, unit, metric))
            for title, unit, metric in (_CLASSIFIER if run.classifies else _GENERATIVE)
        ],
        "optimisation": [
            (title, _chart(curves, {"training": tag}, unit, log=log))
            for title, unit, tag, log in _OPTIMISATION
            if tag in curves.by_tag
        ],
    }


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def _metric_chart(run: Run, unit: str, metric: str) -> dict[str, Any]:
    tags = {"training": f"train/{metric}", "validation": f"validation/{metric}"}
    kind = run.task.kind
    if metric != kind.metric:
        return _chart(run.curves, tags, unit)
    limit = run.evaluation[kind.limit]
    return _chart(run.curves, tags, unit, scale=kind.scale, limit=None if limit is None else kind.scale * limit)


def _chart(
    curves: Curves,
    tags: dict[str, str],
    unit: str,
    *,
    scale: float = 1.0,
    limit: float | None = None,
    log: bool = False,
) -> dict[str, Any]:
    series = []
    for name, tag in tags.items():
        curve = curves.thinned(tag)
        if curve is not None:
            values = [float(f"{scale * value:.5g}") for value in curve.values]
            series.append({"name": name, "x": [round(step) for step in curve.steps.tolist()], "y": values})
    line = None if limit is None else {"name": "the gate's limit", "y": limit}
    return page_figures.chart("lines", "training step", unit, log=log, series=series, limit=line)
