"""Ctrl-C that is not lost: where a library swallows the KeyboardInterrupt, it is raised again."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class InterruptAgain(logging.Handler):
    """Raises KeyboardInterrupt at the next log record of the main thread, once the user has interrupted the run.

    Python delivers the signal wherever the main thread happens to be. In a destructor or a callback from C it prints
    the exception and drops it, and an `except:` in one of the many libraries below us catches it: the run would go on.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._interrupted = False

    def emit(self, record: logging.LogRecord) -> None:
        """Shows nothing."""
        if self._interrupted and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While it is open, SIGINT raises KeyboardInterrupt, as Python does by itself, and is remembered."""

        def interrupt(number: int, frame: FrameType | None) -> None:
            self._interrupted = True
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            self._interrupted = False
            signal.signal(signal.SIGINT, before)
