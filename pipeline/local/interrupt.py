"""Repeats a Ctrl-C that a library has swallowed."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class InterruptRepeater(logging.Handler):
    """Raises KeyboardInterrupt at the main thread's next log record, once the user has interrupted the run.

    Python delivers the signal wherever the main thread happens to be. In a destructor or a callback from C it prints
    the exception and drops it, and an `except:` in one of the many libraries below us catches it: the run would go on.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._interrupted = False

    def emit(self, record: logging.LogRecord) -> None:
        """Raises KeyboardInterrupt after an interrupt; shows nothing."""
        if self._interrupted and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Remembers a SIGINT while the context is open, and raises KeyboardInterrupt at once as Python does."""

        def interrupt(number: int, frame: FrameType | None) -> None:
            self._interrupted = True
            raise KeyboardInterrupt

        previous = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            self._interrupted = False
            signal.signal(signal.SIGINT, previous)
