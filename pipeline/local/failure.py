"""Turns the exception that ended a run into what its user needs to read."""

from __future__ import annotations

import itertools
import re
import traceback
from pathlib import Path

from pipeline.local.console import OUR_PACKAGES

# A user can cause these, and reads a whole sentence then; the name of the class would only stand in the way.
_SPEAKING_TYPES = ("ValueError", "RuntimeError")
_TRACEBACK = "Traceback (most recent call last):\n"
_FRAME = re.compile(r'^  File "([^"]+)", line ', re.MULTILINE)
_ROOT = Path(__file__).resolve().parents[2]
_WHERE_IN_BEAM = re.compile(r" \[while running '[^']*'\]")


class RunFailed(Exception):
    """A run that ended before its time: what it was doing, why it could not go on, and where all of it is written."""

    def __init__(self, doing: str, reason: str, log_path: Path) -> None:
        super().__init__(f"{doing} failed.\n{reason}\nThe full log is {log_path}")


def reason(error: BaseException) -> str:
    """The message of the error that was raised first, without stack frames.

    Beam raises a RuntimeError whose message is the whole traceback of its worker, as text.
    """
    text = _text(error)
    name, _, message = text.partition(": ")
    return message if message and _speaks(name) else text


def is_foreseen(error: BaseException) -> bool:
    """Whether a file of ours has raised the error in words that are for the user, who needs no stack frames then."""
    stack = _stack_in_beam(error)
    files = _FRAME.findall(stack) if stack else [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    ours = bool(files) and any(Path(files[-1]).resolve().is_relative_to(_ROOT / package) for package in OUR_PACKAGES)
    return ours and _speaks(_text(error).partition(": ")[0])


def _stack_in_beam(error: BaseException) -> str:
    """Of the last traceback that an error carries as text; nothing where it carries none."""
    _, found, last = str(error).rpartition(_TRACEBACK)
    return last if found else ""


def _text(error: BaseException) -> str:
    """The name of the error that was raised first, and its message."""
    stack = _stack_in_beam(error)
    if stack:
        lines = list(itertools.dropwhile(lambda line: line.startswith("  "), stack.splitlines()))
    else:
        lines = traceback.format_exception_only(type(error), error)
    return _WHERE_IN_BEAM.sub("", "\n".join(lines)).strip()


def _speaks(name: str) -> bool:
    """Whether errors of that name carry whole sentences."""
    return name in _SPEAKING_TYPES or name.partition(".")[0] in OUR_PACKAGES
