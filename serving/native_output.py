"""Keeps what native libraries write to standard error off the terminal."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from typing import TextIO


def silence_native_code() -> None:
    """Asks TensorFlow's and gRPC's C++ for errors only, before they are imported. A level that the user set stays."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


@contextlib.contextmanager
def quiet_native_code() -> Iterator[None]:
    """While it is open, TensorFlow can be imported and compile without a word on standard error but our own errors.

    Its C++ writes there before it reads what level was asked for, and libraries that it imports warn of old Pythons.
    """
    silence_native_code()
    with open(os.devnull, "w") as nowhere, native_output_to(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextlib.contextmanager
def native_output_to(file: TextIO) -> Iterator[None]:
    """XLA writes to the standard error of the process, whatever TF_CPP_MIN_LOG_LEVEL says."""
    terminal = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
