"""Scores as a table for people and as CSV for programs."""

from __future__ import annotations

import csv
import io

import numpy as np

from serving.client.answers import Scores

COLUMNS = ("nll_bound", "reconstruction", "kl", "log_weight")
SHOWN = 20
"""Rows that a table shows."""


def as_csv(scores: Scores) -> str:
    """Returns a heading, then a line an image: its place, the numbers in nats, and the KL of each step."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    steps = scores.kl_per_step.shape[1]
    writer.writerow(["image", *COLUMNS, *(f"kl_{step}" for step in range(1, steps + 1))])
    numbers = np.column_stack([*(getattr(scores, name) for name in COLUMNS), scores.kl_per_step])
    # Nine digits tell every float32 from its neighbours.
    writer.writerows([place, *(f"{value:.9g}" for value in row)] for place, row in enumerate(numbers))
    return text.getvalue()


def as_table(scores: Scores) -> str:
    """Returns the first images' numbers in nats, and the mean over all images with its standard error."""
    width = max(len(name) for name in COLUMNS) + 2
    lines = ["image ".ljust(8) + "".join(name.rjust(width) for name in COLUMNS)]
    numbers = np.column_stack([getattr(scores, name) for name in COLUMNS])
    lines += [str(place).ljust(8) + _cells(row, width) for place, row in enumerate(numbers[:SHOWN])]
    if len(numbers) > SHOWN:
        lines.append(f"... and {len(numbers) - SHOWN:,} more")
    lines.append("mean".ljust(8) + _cells(numbers.mean(axis=0, dtype=np.float64), width))
    if len(numbers) > 1:
        errors = numbers.std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(len(numbers))
        lines.append("± s.e.".ljust(8) + _cells(errors, width))
    return "\n".join(lines) + "\n"


def _cells(row: np.ndarray, width: int) -> str:
    return "".join(f"{value:.2f}".rjust(width) for value in row)
