"""The figures of each class."""

from __future__ import annotations

from components.run_report import markup
from components.run_report.run import Run
from trainer.task import ClassifyingTask

_NORMAL_95 = 1.96
"""Standard errors on either side that hold 95% of a normal distribution."""


def body(run: Run) -> str:
    """With 95% intervals; of data without labels a sentence."""
    classes = run.evaluation["by_label"]
    if not classes:
        return markup.paragraph("The data set has no labels.")
    classifies = isinstance(run.task, ClassifyingTask)
    if any(values["error" if classifies else "nll_bound"]["mean"] is None for values in classes.values()):
        return markup.paragraph("The figures of the classes are not finite.", "note")
    names = list(classes)
    if classifies:
        means = [100 * values["error"]["mean"] for values in classes.values()]
        intervals = [[100 * limit for limit in values["error"]["interval_95"]] for values in classes.values()]
        title, unit, overall = "Error", "percent", 100 * run.evaluation["overall"]["error"]["mean"]
    else:
        means = [values["nll_bound"]["mean"] for values in classes.values()]
        # One example has no standard error.
        errors = [_NORMAL_95 * (values["nll_bound"]["standard_error"] or 0.0) for values in classes.values()]
        intervals = [[mean - error, mean + error] for mean, error in zip(means, errors, strict=True)]
        title, unit, overall = "Bound", "nats an image", run.evaluation["overall"]["nll_bound"]["mean"]
    spec = {
        "kind": "dots",
        "x": {"label": "class"},
        "y": {"label": unit},
        "names": names,
        "values": [round(mean, 3) for mean in means],
        "intervals": [[round(limit, 3) for limit in pair] for pair in intervals],
        "limit": {"name": "all classes", "y": overall},
    }
    caption = f"With 95% intervals; {min(values['count'] for values in classes.values()):,} images a class or more."
    return markup.chart(f"{title} by class", spec, caption=caption)
