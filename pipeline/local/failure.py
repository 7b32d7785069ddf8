"""Turns the exception that ended a run into what its user needs to read."""

from __future__ import annotations

import itertools
import re
import traceback
from pathlib import Path

from pipeline.local.console import OUR_PACKAGES

# A user can cause these, and their messages are whole sentences: the name of the class would only be in the way.
_USER_ERRORS = ("ValueError", "RuntimeError")
_TRACEBACK = "Traceback (most recent call last):\n"
_FRAME = re.compile(r'^  File "([^"]+)", line ', re.MULTILINE)
_ROOT = Path(__file__).resolve().parents[2]
_BEAM_STEP = re.compile(r" \[while running '[^']*'\]")


class RunFailed(Exception):
    """A run that failed: its activity, the reason, and the path of the full log."""

    def __init__(self, activity: str, reason: str, log_path: Path) -> None:
        super().__init__(f"{activity} failed.\n{reason}\nThe full log is {log_path}")


def reason(error: BaseException) -> str:
    """Returns the message of the error that was raised first, without stack frames.

    Beam raises a RuntimeError whose message is its worker's whole traceback.
    """
    text = _name_and_message(error)
    name, _, message = text.partition(": ")
    return message if message and _is_for_users(name) else text


def is_user_error(error: BaseException) -> bool:
    """Whether one of our files raised the error in words for the user, who then needs no stack frames."""
    stack = _beam_traceback(error)
    files = _FRAME.findall(stack) if stack else [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    ours = bool(files) and any(Path(files[-1]).resolve().is_relative_to(_ROOT / package) for package in OUR_PACKAGES)
    return ours and _is_for_users(_name_and_message(error).partition(": ")[0])


def _beam_traceback(error: BaseException) -> str:
    """Returns the last traceback in the error's message, or nothing."""
    _, header, last = str(error).rpartition(_TRACEBACK)
    return last if header else ""


def _name_and_message(error: BaseException) -> str:
    """Describes the error that was raised first, as Python's traceback ends: `Name: message`."""
    stack = _beam_traceback(error)
    if stack:
        lines = list(itertools.dropwhile(lambda line: line.startswith("  "), stack.splitlines()))
    else:
        lines = traceback.format_exception_only(type(error), error)
    return _BEAM_STEP.sub("", "\n".join(lines)).strip()


def _is_for_users(name: str) -> bool:
    """Whether errors of that name carry whole sentences."""
    return name in _USER_ERRORS or name.partition(".")[0] in OUR_PACKAGES
