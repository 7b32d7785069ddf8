"""Sends a training's curves to MLflow, where the environment names a run of it and its client is installed.

Kubeflow Pipelines 2.17 sets the variables in its pods, with its MLflow plugin.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

_TRACKING_URI, _RUN_ID = "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"
_SECONDS = 10.0
"""Between two requests, but at a validation, which is sent at once."""
_MOST = 1000
"""Metrics that MLflow takes in one request."""

_LOG = logging.getLogger(__name__)


class MlflowCurves:
    """A run's metrics by step. A server that fails costs a warning, and the rest of the curves, but no training."""

    def __init__(self, run_id: str) -> None:
        """Raises ImportError where MLflow's client is not installed."""
        # Its own defaults would hold up a training for minutes.
        for name, value in (("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"), ("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")):
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient  # type: ignore[import-not-found]
        from mlflow.entities import Metric  # type: ignore[import-not-found]

        self._client, self._metric, self._run_id = MlflowClient(), Metric, run_id
        self._waiting: list[Any] = []
        self._sent = time.monotonic()
        self._failed = False

    @classmethod
    def from_environment(cls) -> MlflowCurves | None:
        """Those of the run that the environment names; None for none, and without MLflow's client."""
        if not os.environ.get(_TRACKING_URI) or not (run_id := os.environ.get(_RUN_ID)):
            return None
        try:
            return cls(run_id)
        except ImportError:
            _LOG.info("%s is set, and mlflow is not installed: pip install 'draw-tfx[mlflow]'.", _TRACKING_URI)
        except Exception as error:  # Of the client, for an address that it does not know.
            _LOG.warning("MLflow at %s gets no metrics: %s", os.environ[_TRACKING_URI], error)
        return None

    def log(self, metrics: Mapping[str, float], step: int, *, now: bool = False) -> None:
        """Takes the metrics of a step, and sends what has come together when it is time to, or `now`."""
        if self._failed:
            return
        milliseconds = int(time.time() * 1000)
        self._waiting += [self._metric(name, float(value), milliseconds, step) for name, value in metrics.items()]
        if not now and time.monotonic() - self._sent < _SECONDS:
            return
        try:
            while self._waiting:
                self._client.log_batch(self._run_id, metrics=self._waiting[:_MOST])
                del self._waiting[:_MOST]
        except Exception as error:  # Of the client, of the connection, of whatever stands between.
            self._failed = True
            _LOG.warning("MLflow at %s takes no metrics, and gets no more: %s", os.environ[_TRACKING_URI], error)
        self._sent = time.monotonic()
