"""The Wilson score interval of a proportion (Wilson, 1927), which holds for few errors and for none."""

from __future__ import annotations

import math

CONFIDENCE = 0.95
_Z = 1.959963984540054
"""The normal distribution's quantile of (1 + CONFIDENCE) / 2."""


def interval(proportion: float, count: int) -> tuple[float, float]:
    """Lower and upper limit of what a proportion found in `count` examples stands for; NaN for a NaN."""
    centre = proportion + _Z**2 / (2 * count)
    spread = _Z * math.sqrt(proportion * (1 - proportion) / count + _Z**2 / (4 * count**2))
    scale = 1 + _Z**2 / count
    return (centre - spread) / scale, (centre + spread) / scale
