"""Waits for what another thread or process does, and for no fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Waits until a condition holds. Fails where that takes longer."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "The condition did not hold in time."
        time.sleep(0.01)
