"""Keeps what native libraries write to standard error off the terminal."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import TextIO


def silence_native_code() -> None:
    """Limits TensorFlow's and gRPC's C++ to errors, before they are imported; a level that the user set stays."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


@contextlib.contextmanager
def quiet_native_code() -> Iterator[None]:
    """Silences the import of TensorFlow and its compilations; Python's own errors still appear.

    Its C++ writes to standard error before it reads the level, and libraries that it imports warn of old Pythons.
    """
    silence_native_code()
    with open(os.devnull, "w") as nowhere, native_output_to(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


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
