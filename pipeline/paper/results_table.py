"""The paper's table with our row in it, as Markdown: what was measured beside what was printed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.run_report.paper_results import BY_TASK
from pipeline.paper.last_evaluation import LastEvaluation
from serving.cli.score_table import bits_per_dimension

if TYPE_CHECKING:
    from pipeline.paper.importance_weighting import Mean

NOT_A_COMPRESSION_COST = (
    "The pixels are intensities, and the cost is the cross-entropy with them: a training loss. Neither it nor its bits "
    "per dimension are a compression cost, nor comparable with a likelihood of the images."
)


def markdown(evaluation: LastEvaluation, samples: int, weighted: Mean | None) -> str:
    """The page of a generative model.

    Args:
      evaluation: of the bound.
      samples: K of `weighted`.
      weighted: the importance-weighted bound of the same split; None leaves its row out.

    Raises ValueError where the bound is not finite.
    """
    task, bound = evaluation.task, evaluation.found["overall"]["nll_bound"]
    if bound["mean"] is None or bound["standard_error"] is None:
        raise ValueError(f"The bound of model {evaluation.model_number} is not finite: there is nothing to compare.")
    shape = task["image_shape"] if task["binarisation"] == "none" else None
    rows = [_measured("the bound", bound["mean"], bound["standard_error"], shape)]
    if weighted is not None:
        rows.append(
            _measured(
                f"importance-weighted with {samples:,} samples an image, which is not the bound",
                weighted.bound,
                weighted.standard_error,
                shape,
            )
        )
    headings = ["", "cost, nats an image" if shape else "-log p(x), nats an image", "standard error"]
    page = _page(evaluation, [*headings, *(["bits per dimension"] if shape else []), "source"], rows)
    return f"{page}\n{NOT_A_COMPRESSION_COST}\n" if shape else page


def classifier_markdown(evaluation: LastEvaluation) -> str:
    """The page of a classifier. Raises ValueError where its error is not finite."""
    error = evaluation.found["overall"]["error"]
    if error["mean"] is None:
        raise ValueError(f"The error of model {evaluation.model_number} is not finite: there is nothing to compare.")
    low, high = (f"{100 * limit:.2f}" for limit in error["interval_95"])
    row = ("**this model**", f"{100 * error['mean']:.2f} %", f"{low} to {high} %", "measured")
    return _page(evaluation, ["", "error", "95% interval", "source"], [row])


def _page(evaluation: LastEvaluation, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Our rows, and below them those of others."""
    task, found = evaluation.task, evaluation.found
    others = BY_TASK.get(task["name"], ())
    empty = [""] * (len(headings) - 3)
    lines = [
        f"# {task['title']}",
        "",
        f"Model {evaluation.model_number} after {task['recipe']['steps']:,} steps, on the "
        f"{found['overall']['count']:,} images of split `{found['split']}`. The gate "
        f"{'passed' if found['blessed'] else 'refused'} it.",
        "",
        *_table(headings, [*rows, *((result.model, result.value, *empty, result.source) for result in others)]),
    ]
    if not others:
        lines += ["", "The paper gives no number for these data."]
    return "\n".join(lines) + "\n"


def _measured(what: str, nats: float, error: float, shape: Sequence[int] | None) -> tuple[str, ...]:
    """Our row; `shape` where bits per dimension are shown."""
    model = f"**this model**, {what}"
    if shape is None:
        return model, f"≤ {nats:.2f}", f"{error:.2f}", "measured"
    return model, f"{nats:,.2f}", f"{error:.2f}", f"{bits_per_dimension(nats, math.prod(shape)):.4f}", "measured"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Text on the left, and the numbers between the first column and the last one on the right."""
    aligned = "|---|" + "---:|" * (len(headings) - 2) + "---|"
    return [_line(headings), aligned, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
