"""Counts, times and logs requests, on behalf of gRPC and REST."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable
from typing import TypeVar

import grpc

from serving.server import status_error
from serving.server.prometheus_metrics import Metrics
from serving.server.served_models import ServedModels

_log = logging.getLogger(__name__)

T = TypeVar("T")


class RequestObserver:
    """Records each request in the metrics, and turns whatever it raises into a StatusError."""

    def __init__(self, models: ServedModels, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics

    async def observe(self, model: str, api: str, entrypoint: str, answer: Awaitable[T]) -> T:
        """Awaits the answer.

        Raises:
          StatusError: where the answer raised; INTERNAL, and an entry in the log, where the request was not at fault.
        """
        began = time.perf_counter()
        # A caller must not be able to fill the server's memory with names that it invents.
        label = model if self._models.has(model) else ""
        status = grpc.StatusCode.CANCELLED
        try:
            response = await answer
            status = grpc.StatusCode.OK
            return response
        except Exception as error:
            # In no variable: an error that its own traceback leads to keeps the request in memory.
            status = status_error.from_exception(error).code
            if status == grpc.StatusCode.INTERNAL and not isinstance(error, status_error.StatusError):
                _log.error("%s on %s failed", api, model, exc_info=error)
            raise status_error.from_exception(error) from None
        finally:
            self._metrics.requests.labels(label, api, status.name).inc()
            self._metrics.latency.labels(label, api, entrypoint).observe((time.perf_counter() - began) * 1e6)
