"""Replays the requests that a version's exporter left in assets.extra, before any caller may ask the version."""

from __future__ import annotations

import asyncio
import math

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.server import predictor, status_error
from serving.server.batching import Scheduler
from serving.server.servable import Servable

_FILE = "assets.extra/tf_serving_warmup_requests"
"""A TFRecord file of PredictionLogs, as TF Serving reads it."""

_MAX_REQUESTS = 1000
"""TF Serving's bound."""


def replay_warmup(servable: Servable, scheduler: Scheduler) -> int:
    """Replays the version's warm-up file, one request after the other, and returns how many there were.

    Raises:
      StatusError: where there are too many, or one of them fails; such a version must not be served.
      tf.errors.OpError: where the file cannot be read.
    """
    path = servable.path / _FILE
    if not path.is_file():
        return 0
    count = 0
    for record in tf.data.TFRecordDataset(str(path)):
        count += 1
        if count > _MAX_REQUESTS:
            raise status_error.invalid(f"{path} holds more than {_MAX_REQUESTS} requests.")
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        try:
            asyncio.run(_send(servable, scheduler, log))
        except status_error.StatusError as error:
            raise status_error.StatusError(error.code, f"Warm-up request {count} of {path}: {error.message}") from error
    return count


async def _send(servable: Servable, scheduler: Scheduler, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        await predictor.predict(
            servable, log.predict_log.request, scheduler, deadline=math.inf, max_response_bytes=2**31
        )
    elif kind == "classify_log":
        await predictor.classify(servable, log.classify_log.request, scheduler, deadline=math.inf)
    else:
        raise status_error.invalid(f"It is a {kind}; this server replays predict and classify logs only.")
