"""The paper's table with our row in it, as Markdown: what was measured beside what was printed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.last_evaluation import LastEvaluation
from pipeline.paper_results import BY_TASK
from serving.score_table import bits_per_dimension

if TYPE_CHECKING:
    from pipeline.importance_weighting import Mean

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
    task, found = evaluation.task, evaluation.found
    bound, count = found["overall"]["nll_bound"], found["overall"]["count"]
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
    others = BY_TASK.get(task["name"], ())
    rows += [(result.model, result.value, "", *([""] if shape else []), result.source) for result in others]
    headings = ("", "cost, nats an image" if shape else "-log p(x), nats an image", "standard error")
    lines = [
        f"# {task['title']}",
        "",
        f"Model {evaluation.model_number} after {task['recipe']['steps']:,} steps, on the {count:,} images of split "
        f"`{found['split']}`. The gate {'passed' if found['blessed'] else 'refused'} it.",
        "",
        *_table((*headings, *(["bits per dimension"] if shape else []), "source"), rows),
    ]
    if not others:
        lines += ["", "The paper gives no number for these data."]
    if shape:
        lines += ["", NOT_A_COMPRESSION_COST]
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
