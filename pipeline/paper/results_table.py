"""The paper's table with our row in it, as Markdown: what was measured beside what was printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from components.run_report.paper_results import BY_TASK
from pipeline.paper.last_evaluation import LastEvaluation
from serving.batch.estimate import NO_COMPRESSION_COST, bits_per_dimension


def markdown(evaluation: LastEvaluation, scores: Mapping[str, Any] | None) -> str:
    """Returns the page of a generative model.

    Args:
      evaluation: the gate's, with the bound.
      scores: the batch job's summary of the same split, for a row of the importance-weighted bound; None for no row.

    Raises ValueError where a bound is not finite.
    """
    task = evaluation.task
    shape = task["image_shape"] if task["binarisation"] == "none" else None
    rows = [_measured(evaluation, "the bound", evaluation.metrics["nll_bound"], shape)]
    if scores is not None:
        name = f"importance-weighted with {scores['samples']:,} samples an image, which is not the bound"
        rows.append(_measured(evaluation, name, scores["importance_weighted_bound"], shape))
    headings = ["", "cost, nats an image" if shape else "-log p(x), nats an image", "standard error"]
    page = _page(evaluation, [*headings, *(["bits per dimension"] if shape else []), "source"], rows)
    return f"{page}\n{NO_COMPRESSION_COST}\n" if shape else page


def classifier_markdown(evaluation: LastEvaluation) -> str:
    """Returns the page of a classifier. Raises ValueError where its error is not finite."""
    error = evaluation.metrics["error"]
    if error["mean"] is None:
        raise ValueError(f"The error of model {evaluation.model_number} is not finite: there is nothing to compare.")
    low, high = (f"{100 * limit:.2f}" for limit in error["interval_95"])
    row = ("**this model**", f"{100 * error['mean']:.2f} %", f"{low} to {high} %", "measured")
    return _page(evaluation, ["", "error", "95% interval", "source"], [row])


def _page(evaluation: LastEvaluation, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns our rows, and below them those of others."""
    task = evaluation.task
    others = BY_TASK.get(task["name"], ())
    empty = [""] * (len(headings) - 3)
    lines = [
        f"# {task['title']}",
        "",
        f"Model {evaluation.model_number} after {task['recipe']['steps']:,} steps, on the "
        f"{evaluation.metrics['count']:,} images of split `{evaluation.split}`. The gate "
        f"{'passed' if evaluation.blessed else 'refused'} it.",
        "",
        *_table(headings, [*rows, *((result.model, result.value, *empty, result.source) for result in others)]),
    ]
    if not others:
        lines += ["", "The paper gives no number for these data."]
    return "\n".join(lines) + "\n"


def _measured(
    evaluation: LastEvaluation, name: str, bound: Mapping[str, float | None], shape: Sequence[int] | None
) -> tuple[str, ...]:
    """Returns a row of ours, with bits per dimension where a shape is given."""
    nats, error = bound["mean"], bound["standard_error"]
    if nats is None or error is None:
        raise ValueError(f"The bound of model {evaluation.model_number} is not finite: there is nothing to compare.")
    model = f"**this model**, {name}"
    if shape is None:
        return model, f"≤ {nats:.2f}", f"{error:.2f}", "measured"
    return model, f"{nats:,.2f}", f"{error:.2f}", f"{bits_per_dimension(nats, math.prod(shape)):.4f}", "measured"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligns text left, and the numbers between the first column and the last one right."""
    alignment = "|---|" + "---:|" * (len(headings) - 2) + "---|"
    return [_line(headings), alignment, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
