"""Waits for a server that is starting, or that is loading the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from serving.client import errors

_ASK_SECONDS = 2.0
"""A server that is loading may take the connection, and answer when it has loaded."""
_PAUSE_SECONDS = 0.25
_AVAILABLE = 30
_ON_THE_WAY = {0, 10, 20}
"""States of a version that may become available: UNKNOWN, START and LOADING."""


def wait_until_ready(
    status: Callable[[float], Any], *, server: str, seconds: float, report: Callable[[str], object]
) -> grpc.RpcError | None:
    """Waits until the server answers with a version that is available, or with anything that waiting does not mend.

    Args:
      status: asks for the versions' states within so many seconds and returns a GetModelStatusResponse; raises
        grpc.RpcError.
      server: the server's address, for the report.
      seconds: how long to wait at most.
      report: gets a line before the wait.

    Returns:
      gRPC's error if no server had answered in the end; else None.
    """
    deadline = time.monotonic() + seconds
    waiting = False
    while True:
        error = None
        try:
            states = {version.state for version in status(min(_ASK_SECONDS, seconds)).model_version_status}
        except grpc.RpcError as raised:
            error = raised
            if not _may_be_starting(error):
                return None
            reason = errors.plain(error.details() or "", longest=200).rpartition("last error: ")[2]
        else:
            if _AVAILABLE in states or not states & _ON_THE_WAY:
                return None
            reason = "it is loading the model"
        if time.monotonic() + _PAUSE_SECONDS >= deadline:
            return error
        if not waiting:
            report(f"Waiting up to {seconds:g} s for the server at {server} ({reason})")
            waiting = True
        time.sleep(_PAUSE_SECONDS)


def _may_be_starting(error: grpc.RpcError) -> bool:
    return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) and not (
        errors.speaks_no_grpc(error)
    )
