"""The curves of the training."""

from __future__ import annotations

from typing import Any, NamedTuple

from components.run_report import markup
from components.run_report.event_curves import Curves
from components.run_report.run import Run
from trainer.task import ClassifyingTask


class _Panel(NamedTuple):
    title: str
    unit: str
    scalar: str
    """TensorBoard's tag without what comes before the slash."""
    scale: float = 1.0
    limit: float | None = None


_ASIDE = (
    ("Learning rate", "Adam's", "train/learning_rate", False),
    ("Gradient norm", "before it is clipped", "train/gradient_norm", True),
    ("Speed", "images a second", "train/examples_per_second", False),
)


def body(run: Run) -> str:
    """Loss and its parts large, how it was trained small."""
    task, found, curves = run.task, run.evaluation, run.curves
    if not curves.by_tag:
        return markup.paragraph("The training has left no summaries.")
    if isinstance(task, ClassifyingTask):
        panels = [
            _Panel("Error", "percent of the images", "error", 100.0, 100 * found["max_error"]),
            _Panel("Cross-entropy", "nats an image", "cross_entropy"),
        ]
    else:
        panels = [
            _Panel("Bound", "nats an image", "nll_bound", limit=found["max_nll_bound"]),
            _Panel("Reconstruction", "nats an image", "reconstruction"),
            _Panel("KL of the latents from the prior", "nats an image", "kl"),
        ]
    rate = task.recipe.steps * task.recipe.batch_size / curves.seconds if curves.seconds else 0.0
    text = (
        f"{task.recipe.steps:,} steps of {task.recipe.batch_size} images in {duration(curves.seconds)}, "
        f"{rate:,.0f} images a second with validation and compilation. Drag across a curve to enlarge a part of it; "
        "its first steps may lie beyond the frame."
    )
    charts = "".join(
        _chart(curves, panel, "wide" if place == 0 and len(panels) > 2 else "") for place, panel in enumerate(panels)
    )
    aside = "".join(
        markup.chart(title, _spec(curves, {"training": tag}, unit, log=log), kind="small")
        for title, unit, tag, log in _ASIDE
        if tag in curves.by_tag
    )
    return markup.paragraph(text) + f'<div class="charts">{charts}</div><div class="charts aside">{aside}</div>'


def duration(seconds: float) -> str:
    """As a person says it."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def _chart(curves: Curves, panel: _Panel, kind: str) -> str:
    tags = {
        split: f"{prefix}/{panel.scalar}" for split, prefix in (("training", "train"), ("validation", "validation"))
    }
    spec = _spec(curves, tags, panel.unit, scale=panel.scale, limit=panel.limit)
    return markup.chart(panel.title, spec, kind=kind)


def _spec(
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
    return {
        "kind": "lines",
        "x": {"label": "training step"},
        "y": {"label": unit, "log": log},
        "series": series,
        "limit": None if limit is None else {"name": "the gate's limit", "y": limit},
    }
