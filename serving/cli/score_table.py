"""Scores as a table for people and as CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import numpy as np

from serving.client.answers import Scores
from serving.reference.image_scores import CALIBRATED

COLUMNS = ("nll_bound", "reconstruction", "kl", "log_weight")
SHOWN = 20
"""Rows that a table shows."""


def as_csv(scores: Scores) -> str:
    """Returns a heading, then a line an image: its place, the numbers in nats, and the KL of each step.

    The percentile in the model's reference and its like are empty of a model without one.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    steps = scores.kl_per_step.shape[1]
    writer.writerow(["image", *COLUMNS, *(f"kl_{step}" for step in range(1, steps + 1)), *CALIBRATED])
    # Numbers and none of a model without a reference, or of images that are not binarised: each below its own heading.
    columns = [getattr(scores, name) for name in COLUMNS]
    columns += [*scores.kl_per_step.T, *(getattr(scores, name) for name in CALIBRATED)]
    # Nine digits tell every float32 from its neighbours.
    texts = [
        [""] * len(scores.kl) if column is None else [f"{value:.9g}" for value in column.tolist()] for column in columns
    ]
    writer.writerows([place, *row] for place, row in enumerate(zip(*texts, strict=True)))
    return text.getvalue()


def as_table(scores: Scores) -> str:
    """Returns the first images' numbers, in nats and in the reference, and the means with their standard errors."""
    names = [*COLUMNS, *(name for name in CALIBRATED if getattr(scores, name) is not None)]
    lines = ["image".ljust(8) + "".join(name.rjust(_width(name)) for name in names)]
    numbers = np.column_stack([getattr(scores, name) for name in names])
    lines += [str(place).ljust(8) + _cells(names, row) for place, row in enumerate(numbers[:SHOWN])]
    if len(numbers) > SHOWN:
        lines.append(f"... and {len(numbers) - SHOWN:,} more")
    lines.append("mean".ljust(8) + _cells(names, numbers.mean(axis=0, dtype=np.float64)))
    if len(numbers) > 1:
        errors = numbers.std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(len(numbers))
        lines.append("± s.e.".ljust(8) + _cells(names, errors))
    return "\n".join(lines) + "\n"


def _width(name: str) -> int:
    return max(len(name), 10) + 2


def _cells(names: Sequence[str], row: np.ndarray) -> str:
    # A p-value may be far below a hundredth.
    cells = (f"{value:.2g}" if name == "typicality" else f"{value:.2f}" for name, value in zip(names, row, strict=True))
    return "".join(cell.rjust(_width(name)) for name, cell in zip(names, cells, strict=True))
