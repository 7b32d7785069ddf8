"""Turns the exception that ended a run into what its user needs to read."""

from __future__ import annotations

import itertools
import re
import traceback
from pathlib import Path

from pipeline.run_console import OUR_PACKAGES

# A user can cause these, and reads a whole sentence then; the name of the class would only stand in the way.
_SPEAKING_TYPES = ("ValueError", "RuntimeError")
_TRACEBACK = "Traceback (most recent call last):\n"
_WHERE_IN_BEAM = re.compile(r" \[while running '[^']*'\]")


class RunFailed(Exception):
    """A run that ended before its time: what it was doing, why it could not go on, and where all of it is written."""

    def __init__(self, doing: str, reason: str, log_path: Path) -> None:
        super().__init__(f"{doing} failed.\n{reason}\nThe full log is {log_path}")


def reason(error: BaseException) -> str:
    """The message of the error that was raised first, without stack frames.

    Beam raises a RuntimeError whose message is the whole traceback of its worker, as text.
    """
    _, found, last = str(error).rpartition(_TRACEBACK)
    if found:
        lines = list(itertools.dropwhile(lambda line: line.startswith("  "), last.splitlines()))
    else:
        lines = traceback.format_exception_only(type(error), error)
    text = _WHERE_IN_BEAM.sub("", "\n".join(lines)).strip()
    name, _, message = text.partition(": ")
    if message and (name in _SPEAKING_TYPES or name.partition(".")[0] in OUR_PACKAGES):
        return message
    return text
