"""TF Serving's PredictionService on gRPC: deadlines and metrics around the Predictor."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server import predictor, status_error
from serving.server.predictor import Predictor
from serving.server.prometheus_metrics import Metrics
from serving.server.servable import Servable
from serving.server.served_models import ServedModels

T = TypeVar("T")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict, Classify and GetModelMetadata; no signature of ours is for Regress and MultiInference.

    Its methods raise StatusError, which `grpc_messages` makes the call's status.
    """

    def __init__(self, predictor: Predictor, models: ServedModels, metrics: Metrics) -> None:
        self._predictor = predictor
        self._models = models
        self._metrics = metrics

    async def Predict(self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext) -> bytes:
        """Answers with the outputs of a signature, in a serialized PredictResponse."""
        return await self._answer("predict", self._predictor.predict, request, context)

    async def Classify(
        self, request: classification_pb2.ClassificationRequest, context: grpc.aio.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Answers with classes and scores of tf.Examples."""
        return await self._answer("classify", self._predictor.classify, request, context)

    async def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Answers with the model's signatures."""

        async def metadata(servable: Servable, request: Any, *, deadline: float) -> Any:
            del deadline  # Nothing is computed.
            return predictor.metadata(servable, request)

        return await self._answer("get_model_metadata", metadata, request, context)

    async def Regress(self, request: object, context: grpc.aio.ServicerContext) -> Any:
        """Refuses. The generated base class would write a traceback into the log at every call."""
        raise status_error.StatusError(
            grpc.StatusCode.UNIMPLEMENTED, "This server answers Predict, Classify and GetModelMetadata only."
        )

    MultiInference = Regress

    async def _answer(
        self, api: str, method: Callable[..., Awaitable[T]], request: Any, context: grpc.aio.ServicerContext
    ) -> T:
        remaining = context.time_remaining()
        deadline = math.inf if remaining is None else time.monotonic() + remaining

        async def answer() -> T:
            if not request.HasField("model_spec"):
                raise status_error.invalid("The request has no model_spec: name the model.")
            with self._models.acquire(request.model_spec) as servable:
                return await method(servable, request, deadline=deadline)

        model = request.model_spec.name
        return await self._metrics.observe(model if self._models.has(model) else "", api, "GRPC", answer())
