"""The gate's answer: blessed, or the reasons why not."""

from __future__ import annotations

import dataclasses

from components.evaluation.moments import Summary


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """Blessed where there is no reason against it."""

    reasons: tuple[str, ...]

    @property
    def blessed(self) -> bool:
        """Whether the model may be pushed."""
        return not self.reasons


def not_finite(overall: Summary, difference: str) -> list[str]:
    """A reason for each quantity that is NaN or infinite for some example."""
    return [
        f"{name} is not finite for {moments.non_finite} of {moments.count} examples"
        for name, moments in overall.items()
        # The difference is not finite exactly where one of its two terms is not, and they speak for themselves.
        if moments.non_finite and name != difference
    ]
