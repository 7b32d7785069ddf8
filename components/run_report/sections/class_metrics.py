"""The evaluation's metric of each class, with its 95% interval."""

from __future__ import annotations

from typing import Any

from components.run_report import page_figures
from components.run_report.run import Run

_NORMAL_95 = 1.96
"""Standard errors on either side of the mean that hold 95% of a normal distribution."""


def gather(run: Run) -> dict[str, Any]:
    """Gathers the chart of the metric; None if the data have no labels or a metric is not finite."""
    kind = run.task.kind
    classes = {label: values[kind.metric] for label, values in run.evaluation["by_label"].items()}
    if not classes or any(values["mean"] is None for values in classes.values()):
        return {"metrics": None}
    return {
        "metrics": page_figures.chart(
            "dots",
            "class",
            kind.unit,
            names=[run.task.class_name(int(label)) for label in classes],
            values=[round(kind.scale * values["mean"], 3) for values in classes.values()],
            intervals=[[round(kind.scale * limit, 3) for limit in _interval(values)] for values in classes.values()],
            limit={"name": "all classes", "y": kind.scale * run.evaluation["overall"][kind.metric]["mean"]},
        ),
        "min_images": min(values["count"] for values in run.evaluation["by_label"].values()),
    }


def _interval(values: dict[str, Any]) -> list[float]:
    """Returns the evaluation's own interval of an error, or the normal one of a bound."""
    if "interval_95" in values:
        return values["interval_95"]
    # One example has no standard error.
    reach = _NORMAL_95 * (values["standard_error"] or 0.0)
    return [values["mean"] - reach, values["mean"] + reach]
