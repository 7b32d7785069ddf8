"""Which images to flag: those beyond a quantile of the reference, and how many of them were to be expected."""

from __future__ import annotations

import dataclasses
import math
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlagRule:
    """Flags images whose p-value is at most `rate`, so that of usual images it flags that share.

    Raises ValueError where the reference is too small for the rate: a p-value of it is never less than 1 / (n + 1), and
    never less than 2 / (n + 1) where both sides are unusual.
    """

    by: str
    """The score that decides, for people."""
    rate: float
    two_sided: bool
    reference_count: int
    """n, the images of the reference."""

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError(f"The rate of flagged images is {self.rate:g}; expected more than 0 and less than 1.")
        least = (2 if self.two_sided else 1) / (self.reference_count + 1)
        # A rate of just this, which a decimal number cannot hold, is allowed.
        if self.rate < least * (1 - 1e-9):
            need = math.ceil((2 if self.two_sided else 1) / self.rate) - 1
            sides = "either side of it gets half of the rate, and " if self.two_sided else ""
            raise ValueError(
                f"The reference has {self.reference_count:,} images, which is too few for a rate of {self.rate:g} by "
                f"{self.by}: {sides}nothing rarer than {least:.3g} can be told. Take a rate of at least that, or make "
                f"a reference of at least {need:,} images with `draw reference`."
            )

    def to_json(self, images: int, flagged: int) -> dict[str, Any]:
        """Returns how many images were expected and flagged, with 95% intervals of both shares.

        That of the flagged ones is binomial (Wilson, 1927). The rate itself is known as well as the reference's size
        allows, a beta distribution: that of an order statistic of n values.
        """
        # Takes a second to import, and only the end of a job has use for it.
        from scipy import stats

        beyond = self.rate * (self.reference_count + 1)
        rates = stats.beta.ppf([0.025, 0.975], beyond, self.reference_count + 1 - beyond).tolist()
        share = interval = None
        if images:
            share = flagged / images
            limits = stats.binomtest(flagged, images).proportion_ci(method="wilson")
            interval = [float(limits.low), float(limits.high)]
        return {
            "by": self.by,
            "rate": self.rate,
            "rate_interval_95": rates,
            "expected": self.rate * images,
            "flagged": flagged,
            "share": share,
            "share_interval_95": interval,
        }
