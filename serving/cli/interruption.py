"""How a long command is interrupted: it cleans up, leaves no process behind, and exits with 128 and the signal."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ends the process after SIGINT or SIGTERM, when what is inside has cleaned up.

    At once and with its children, for threads of TensorFlow and of Beam would otherwise be waited for.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except BaseException as error:
        if received:
            for number in before:
                signal.signal(number, signal.SIG_IGN)
            text = str(error) if isinstance(error, KeyboardInterrupt) else ""
            click.echo(text or "Interrupted: nothing was written.", err=True)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for child in _children(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            os._exit(128 + received[0])
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _children(parent: int) -> list[int]:
    """Lists the processes below this one."""
    children: list[int] = []
    for tasks in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, tasks.read_text().split()):
                children += [*_children(child), child]
    return children
