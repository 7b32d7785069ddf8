"""Types of the options that are numbers: each has a range, which `--help` shows and a mistake is answered with."""

from __future__ import annotations

import math
from typing import Any

import click


class Real(click.FloatRange):
    """A finite number in a range: click's own range lets NaN pass, and infinity where it is open."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Fails with the range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


INT64 = click.IntRange(-(2**63), 2**63 - 1)
"""A seed, or what else fills 64 bits."""
NATURAL = click.IntRange(0, 2**63 - 1)
"""A count that costs nothing, or a version's number."""
IMAGES = click.IntRange(1, 100_000)
"""Images that are drawn in one answer."""
SAMPLES = click.IntRange(1, 1_000_000)
"""Noise samples of each image."""
STEPS = click.IntRange(1, 2**31 - 1)
"""Training steps, which fill 32 bits."""
BATCH_ROWS = click.IntRange(1, 100_000)
"""Rows of one call of a model."""
SHARE = Real(0, 1)
"""A threshold of pixels, or an error."""
SECONDS = Real(0, 31_536_000, min_open=True)
"""A time to wait, up to a year."""
