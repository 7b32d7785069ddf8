"""The files that the process may open, of which each connection is one."""

from __future__ import annotations

import contextlib
import resource

_KEPT = 192
"""For the files of models, processes, and callers that are told that there are too many."""
_MOST = 4096
_LEAST = 16


def raise_and_share() -> int:
    """Raises the limit as far as the host lets it, and returns how many connections each protocol may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MOST, max(_LEAST, (soft - _KEPT) // 2))
