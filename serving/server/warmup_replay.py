"""Replays the requests that a version's exporter left in assets.extra, before any caller may ask the version."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.saved_model import Arrays
from serving.server import status_error
from serving.server.batching import Scheduler
from serving.server.predictor import Predictor
from serving.server.servable import Servable, Signature

FILE = "assets.extra/tf_serving_warmup_requests"
"""A TFRecord file of PredictionLogs, as TF Serving reads it, in a version's folder."""

_MAX_REQUESTS = 1000
"""TF Serving's bound."""


def replay_warmup(servable: Servable, folder: str, report: Callable[[str], None], *, max_rows: int) -> int:
    """Replays the warm-up file in a version's folder, one request after the other, and returns how many there were.

    They are computed on this thread: a queue that is full of callers' requests would refuse them.

    Raises:
      StatusError: where there are too many, or one of them fails; such a version must not be served.
      tf.errors.OpError: where the file cannot be read.
    """
    path = f"{folder}/{FILE}"
    if not tf.io.gfile.exists(path):
        return 0
    predictor = Predictor(_CallersThread(max_rows), max_response_bytes=2**31)
    count = 0
    for record in tf.data.TFRecordDataset(path):
        count += 1
        if count > _MAX_REQUESTS:
            raise status_error.invalid(f"{path} holds more than {_MAX_REQUESTS} requests.")
        report(f"computes warm-up request {count}")
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        try:
            asyncio.run(_send(servable, predictor, log))
        except Exception as error:
            reason = status_error.from_exception(error)
            message = f"Warm-up request {count} of {path}: {reason.message}"
            raise status_error.StatusError(reason.code, message) from error
    return count


class _CallersThread(Scheduler):
    """Computes each request at once."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows

    def submit(self, signature: Signature, inputs: Arrays, *, deadline: float) -> asyncio.Future[Arrays]:
        del deadline
        outputs = asyncio.get_running_loop().create_future()
        outputs.set_result(signature.run(inputs))
        return outputs

    def close(self) -> None:
        pass


async def _send(servable: Servable, predictor: Predictor, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        await predictor.predict(servable, log.predict_log.request)
    elif kind == "classify_log":
        await predictor.classify(servable, log.classify_log.request)
    else:
        raise status_error.invalid(f"It is a {kind}; this server replays predict and classify logs only.")
