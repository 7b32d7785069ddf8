"""TF Serving's ModelService on gRPC: the status of versions, and reloading of the configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from serving.server import status_error
from serving.server.model_versions import Status
from serving.server.served_models import ServedModels


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """Answers GetModelStatus and HandleReloadConfigRequest."""

    def __init__(
        self, models: ServedModels, reload: Callable[[model_server_config_pb2.ModelServerConfig], None]
    ) -> None:
        """`reload` serves the models of a configuration, and returns when they are loaded."""
        self._models = models
        self._reload = reload

    async def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.aio.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Answers with the state of each version, the greatest first, and why it failed."""
        if not request.HasField("model_spec"):
            raise status_error.invalid("The request has no model_spec: name the model.")
        return status_response(self._models.statuses(request.model_spec))

    async def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.aio.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Serves the models that the request lists and no others, if callers may ask for that."""
        # On a thread, because loading takes long.
        await asyncio.to_thread(self._reload, request.config)
        return model_management_pb2.ReloadConfigResponse()


def status_response(statuses: dict[int, Status]) -> get_model_status_pb2.GetModelStatusResponse:
    """Makes the response that TF Serving would send, the greatest version first."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, status in sorted(statuses.items(), reverse=True):
        added = response.model_version_status.add(version=version, state=status.state)
        if status.error is not None:
            added.status.error_code = status.error.code.value[0]
            added.status.error_message = status.error.message
    return response
