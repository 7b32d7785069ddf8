"""Asks a new version the requests that its exporter left in assets.extra, before anybody else may ask it."""

from __future__ import annotations

import asyncio
import math

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.server import predictor, status_error
from serving.server.batching import Scheduler
from serving.server.servable import Servable

FILE = "assets.extra/tf_serving_warmup_requests"
"""A TFRecord file of PredictionLogs, as TF Serving reads it."""

MAX_REQUESTS = 1000
"""TF Serving's bound."""


def replay_warmup(servable: Servable, scheduler: Scheduler) -> int:
    """Sends the requests, one after the other, and returns how many there were; 0 where there is no file.

    Raises:
      StatusError: where there are too many, or one of them fails. Such a version must not be served.
      tf.errors.OpError: where the file cannot be read.
    """
    path = servable.path / FILE
    if not path.is_file():
        return 0
    count = 0
    for record in tf.data.TFRecordDataset(str(path)):
        count += 1
        if count > MAX_REQUESTS:
            raise status_error.invalid(f"{path} holds more than {MAX_REQUESTS} requests.")
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
        return
    if kind == "classify_log":
        request = log.classify_log.request
        asked = [(request.model_spec, predictor.CLASSIFY)]
    elif kind == "regress_log":
        request = log.regress_log.request
        asked = [(request.model_spec, predictor.REGRESS)]
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        asked = [(task.model_spec, task.method_name) for task in request.tasks]
    else:
        raise status_error.invalid(f"It is a {kind}; predict, classify, regress and multi_inference logs can be sent.")
    examples = predictor.serialized_examples(request.input, max_rows=scheduler.max_rows)
    for spec, method in asked:
        signature = predictor.example_signature(servable, spec, method)
        (alias,) = signature.inputs
        await predictor.compute(scheduler, signature, {alias: examples}, deadline=math.inf)
