"""Keeps what native libraries write to standard error off the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO


def silence_native_code() -> None:
    """Limits TensorFlow's and gRPC's C++ to errors, before they are imported; a level that the user set stays."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


@contextlib.contextmanager
def quiet_native_code() -> Iterator[TextIO]:
    """Silences standard error, but for the stream that it yields.

    TensorFlow's C++ writes there before it reads the level, and libraries that it imports warn of old Pythons.
    """
    silence_native_code()
    with contextlib.ExitStack() as stack:
        terminal = sys.stderr
        if _is_standard_error(terminal):
            terminal = stack.enter_context(os.fdopen(os.dup(2), "w", encoding=terminal.encoding, buffering=1))
        stack.enter_context(native_output_to(stack.enter_context(open(os.devnull, "w"))))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", FutureWarning)
        yield terminal


def _is_standard_error(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (AttributeError, OSError):  # closed, or a test's
        return False


@contextlib.contextmanager
def native_output_to(file: TextIO) -> Iterator[None]:
    """Redirects the process's standard error to a file: XLA writes there whatever TF_CPP_MIN_LOG_LEVEL says."""
    terminal = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
