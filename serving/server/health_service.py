"""gRPC's health service: whether the server answers, for probes that ask and balancers that watch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.server import status_error

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class HealthService(health_pb2_grpc.HealthServicer):
    """Tells one status for all services; used on the event loop alone.

    Not grpcio's own: that writes to a watcher while it holds what each change and each other watcher waits for, so one
    that reads nothing stops the server from stopping; and when one watcher leaves, the others hear of no change.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._status = NOT_SERVING
        self._ends = False
        self._changed = asyncio.Event()

    def set(self, status: int, *, ends: bool = False) -> None:
        """Changes the status, and tells those who watch; for the last time where it `ends`."""
        if not self._ends:
            self._status, self._ends = status, ends
            self._changed.set()
            self._changed = asyncio.Event()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        """Answers with the status."""
        if request.service not in self._services:
            raise status_error.StatusError(grpc.StatusCode.NOT_FOUND, f"There is no service {request.service!r}.")
        return health_pb2.HealthCheckResponse(status=self._status)

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Any) -> None:
        """Answers with the status, and again whenever it is another."""
        unknown, told = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN, None
        while True:
            changed = self._changed
            status = self._status if request.service in self._services else unknown
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            if self._ends:
                return
            await changed.wait()
