"""TF Serving's PredictionService on gRPC: deadlines, status codes and metrics around `Predictor`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.server import status_error
from serving.server.predictor import Predictor
from serving.server.prometheus_metrics import Metrics
from serving.server.served_models import ServedModels

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Observer:
    """Counts and times requests, and turns what they raise into a StatusError."""

    def __init__(self, models: ServedModels, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics

    async def observe(self, model: str, api: str, entrypoint: str, answer: Awaitable[T]) -> T:
        """The answer; or StatusError, INTERNAL where it failed of anything but the request."""
        began = time.perf_counter()
        # A caller must not be able to fill the server's memory with names that it invents.
        shown = model if self._models.has(model) else ""
        status = grpc.StatusCode.CANCELLED
        try:
            response = await answer
            status = grpc.StatusCode.OK
            return response
        except Exception as error:
            reason = status_error.from_exception(error)
            status = reason.code
            if status == grpc.StatusCode.INTERNAL:
                _log.error("%s on %s failed", api, model, exc_info=error)
            raise reason from error
        finally:
            self._metrics.requests.add(1, shown, api, status.name)
            self._metrics.latency.observe((time.perf_counter() - began) * 1e6, shown, api, entrypoint)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The five calls."""

    def __init__(self, predictor: Predictor, observer: Observer) -> None:
        self._predictor = predictor
        self._observer = observer

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """The outputs of a signature."""
        return await self._answer(request, request.model_spec.name, "predict", context, self._predictor.predict)

    async def Classify(
        self, request: classification_pb2.ClassificationRequest, context: grpc.aio.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Classes and scores of tf.Examples."""
        return await self._answer(request, request.model_spec.name, "classify", context, self._predictor.classify)

    async def Regress(
        self, request: regression_pb2.RegressionRequest, context: grpc.aio.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """A number for each tf.Example."""
        return await self._answer(request, request.model_spec.name, "regress", context, self._predictor.regress)

    async def MultiInference(
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.aio.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        """Classifications and regressions of the same tf.Examples."""
        model = request.tasks[0].model_spec.name if request.tasks else ""
        return await self._answer(request, model, "multi_inference", context, self._predictor.multi_inference)

    async def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures."""

        async def metadata(
            request: get_model_metadata_pb2.GetModelMetadataRequest, *, deadline: float
        ) -> get_model_metadata_pb2.GetModelMetadataResponse:
            del deadline  # Nothing is computed.
            return self._predictor.metadata(request)

        return await self._answer(request, request.model_spec.name, "get_model_metadata", context, metadata)

    async def _answer(
        self,
        request: object,
        model: str,
        api: str,
        context: grpc.aio.ServicerContext,
        method: Callable[..., Awaitable[T]],
    ) -> T:
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else time.monotonic() + remaining
        try:
            return await self._observer.observe(model, api, "GRPC", method(request, deadline=deadline))
        except status_error.StatusError as error:
            return await context.abort(error.code, error.message)
