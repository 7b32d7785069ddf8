"""The gate's verdict, and where the model stands among published results."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np

from components.run_report.paper_results import BY_TASK
from components.run_report.run import Run
from serving.batch.estimate import NO_COMPRESSION_COST


class _Result(NamedTuple):
    """A row of the table that is a chart: each value has its dot on an axis that all rows share."""

    value: float
    name: str
    source: str
    text: str
    kind: str = ""
    """CSS class."""


def gather(run: Run) -> dict[str, Any]:
    """Gathers the bits a pixel of a bound, and the rows (result, place on the axis in percent), best first."""
    mean = run.evaluation["overall"][run.task.kind.metric]["mean"]
    published = [
        _Result(float(re.sub(r"[^\d.]", "", result.value)), result.model, result.source, result.value)
        for result in BY_TASK.get(run.task.name, ())
    ]
    results = sorted([*_our_results(run, mean), *published], key=lambda result: result.value)
    # A classifier without a limit whose error is not finite has nothing to show.
    low, high = (results[0].value, results[-1].value) if results else (0.0, 1.0)
    return {
        "bits": None if run.classifies or mean is None else mean / math.log(2) / math.prod(run.task.image_shape),
        "no_compression_cost": NO_COMPRESSION_COST,
        "published": bool(published),
        "standing": [(result, 100 * (result.value - low) / ((high - low) or 1.0)) for result in results],
    }


def _our_results(run: Run, mean: float | None) -> list[_Result]:
    task = run.task
    limit = run.evaluation[task.kind.limit]
    limit_text, text = ("{:.2f}%", "{:.2f}%") if run.classifies else ("≤ {:,g}", "≤ {:,.2f}")
    results = []
    if limit is not None:
        limit *= task.kind.scale
        results.append(_Result(limit, "The gate's limit", "of this run", limit_text.format(limit), "limit"))
    if not run.classifies:
        results.append(_mean_image_result(run))
    if mean is not None:
        value = task.kind.scale * mean
        source = f"measured, {task.recipe.steps:,} steps"
        results.append(_Result(value, "This model", source, text.format(value), "ours"))
    return results


def _mean_image_result(run: Run) -> _Result:
    """Measures a model that knows only how bright each pixel is on average: the scale's other end."""
    known = run.training_examples.images
    # One image more, half of it ink: no pixel is certain.
    means = (known.mean(axis=0) / 255 * len(known) + 0.5) / (len(known) + 1)
    average = run.examples(run.task.data.test).images.mean(axis=0) / 255
    cost = float(-(average * np.log(means) + (1 - average) * np.log(1 - means)).sum())
    return _Result(cost, "Knows the mean image only", "measured, for scale", f"{cost:,.2f}", "naive")
