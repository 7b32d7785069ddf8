"""A caller that begins a stream, and sends nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator


def nothing_until(done: threading.Event) -> Iterator[bytes]:
    """Yields no message, and ends when it is done."""
    done.wait(20)
    yield from ()
