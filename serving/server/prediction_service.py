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

from serving.server import status_error
from serving.server.predictor import Predictor
from serving.server.request_observer import RequestObserver

T = TypeVar("T")


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict, Classify and GetModelMetadata; no signature of ours is for Regress and MultiInference.

    Its methods raise StatusError, which `grpc_messages` makes the call's status.
    """

    def __init__(self, predictor: Predictor, observer: RequestObserver) -> None:
        self._predictor = predictor
        self._observer = observer

    async def Predict(self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext) -> bytes:
        """Answers with the outputs of a signature, in a serialized PredictResponse."""
        return await self._answer(request, request.model_spec.name, "predict", context, self._predictor.predict)

    async def Classify(
        self, request: classification_pb2.ClassificationRequest, context: grpc.aio.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Answers with classes and scores of tf.Examples."""
        return await self._answer(request, request.model_spec.name, "classify", context, self._predictor.classify)

    async def GetModelMetadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.aio.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Answers with the model's signatures."""

        async def metadata(
            request: get_model_metadata_pb2.GetModelMetadataRequest, *, deadline: float
        ) -> get_model_metadata_pb2.GetModelMetadataResponse:
            del deadline  # Nothing is computed.
            return self._predictor.metadata(request)

        return await self._answer(request, request.model_spec.name, "get_model_metadata", context, metadata)

    async def Regress(self, request: object, context: grpc.aio.ServicerContext) -> Any:
        """Refuses. The generated base class would write a traceback into the log at every call."""
        raise status_error.StatusError(
            grpc.StatusCode.UNIMPLEMENTED, "This server answers Predict, Classify and GetModelMetadata only."
        )

    MultiInference = Regress

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
        return await self._observer.observe(model, api, "GRPC", method(request, deadline=deadline))
