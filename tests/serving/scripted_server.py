"""A real gRPC server whose answers a test writes, to show what a client does when things go wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from serving.client import wire
from serving.client.tensor_codec import from_tensor, to_tensor

Answer = Callable[[Any, grpc.ServicerContext], Any]


def image_of(seed: np.ndarray) -> np.ndarray:
    """Encodes seeds [n, 2] in images [n, 2, 3, 1], as `echo` answers them."""
    return (seed[:, :1] * 1000 + seed[:, 1:] + np.arange(6)).astype(np.float32).reshape(-1, 2, 3, 1)


def echo(request: Any, context: grpc.ServicerContext, *, version: int = 1, image: np.ndarray | None = None) -> Any:
    """Answers `sample` with images that encode the seeds, or those given, and black canvases."""
    del context
    if image is None:
        image = image_of(from_tensor(request.inputs["seed"], "seed"))
    canvas = np.zeros((len(image), 4, *image.shape[1:]), np.float32)
    answer = wire.PredictResponse()
    answer.model_spec.version.value = version
    for name, array in (("image", image), ("canvas", canvas)):
        if not request.output_filter or name in request.output_filter:
            answer.outputs[name].CopyFrom(to_tensor(array))
    return answer


def metadata(
    request: Any, context: grpc.ServicerContext, *, image: tuple[int, ...] = (-1, 2, 3, 1), version: int | None = None
) -> Any:
    """Answers with one signature, `sample`: `image` and `canvas` [n, 4, ...] of that shape, float32."""
    del context
    signatures = wire.SignatureDefMap()
    sample = signatures.signature_def["sample"]
    sample.inputs["seed"].dtype = 9
    for size in (-1, 2):
        sample.inputs["seed"].tensor_shape.dim.add(size=size)
    for name, shape in (("image", image), ("canvas", (-1, 4, *image[1:]))):
        sample.outputs[name].dtype = 1
        for size in shape:
            sample.outputs[name].tensor_shape.dim.add(size=size)
    answer = wire.GetModelMetadataResponse(model_spec=request.model_spec)
    if version is not None:
        answer.model_spec.version.value = version
    answer.metadata["signature_def"].value = signatures.SerializeToString()
    return answer


def available(request: Any, context: grpc.ServicerContext) -> Any:
    """Answers that version 1 is AVAILABLE."""
    del request, context
    answer = wire.GetModelStatusResponse()
    answer.model_version_status.add(version=1, state=30)
    return answer


class Script:
    """Answers Predict as `answer` does, the other methods as `metadata` and `status` do, and records the requests."""

    def __init__(self, answer: Answer = echo, *, metadata: Answer = metadata, status: Answer | None = None) -> None:
        self.answer = answer
        self.metadata = metadata
        self.status = status or available
        self.requests: list[Any] = []
        self.headers: list[dict[str, str | bytes]] = []
        self.seconds_left: list[float] = []
        self.busy = 0
        self.busiest = 0
        self.lock = threading.Lock()

    def predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self.lock:
            self.requests.append(request)
            self.headers.append(dict(context.invocation_metadata()))
            self.seconds_left.append(context.time_remaining())
            self.busy += 1
            self.busiest = max(self.busiest, self.busy)
        try:
            return self.answer(request, context)
        finally:
            with self.lock:
                self.busy -= 1

    def rows(self) -> list[int]:
        """Returns the number of rows of each request."""
        return [len(from_tensor(request.inputs["seed"], "seed")) for request in self.requests]


@contextmanager
def serve(
    script: Script,
    *,
    credentials: grpc.ServerCredentials | None = None,
    options: Sequence[tuple[str, int]] = (),
    port: int = 0,
) -> Iterator[str]:
    """Serves the script on a port of the loopback, by default a free one; yields HOST:PORT.

    An answer of bytes is sent as it is, whether it is a message or not.
    """
    methods = {
        wire.PREDICT: script.predict,
        wire.GET_MODEL_METADATA: script.metadata,
        wire.GET_MODEL_STATUS: script.status,
    }
    server = grpc.server(futures.ThreadPoolExecutor(16), options=list(options))
    for service in ("PredictionService", "ModelService"):
        handlers = {
            name.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(
                method,
                request_deserializer=wire.METHODS[name][0].FromString,
                response_serializer=lambda answer: answer if isinstance(answer, bytes) else answer.SerializeToString(),
            )
            for name, method in methods.items()
            if service in name
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(f"tensorflow.serving.{service}", handlers)]
        )
    if credentials is None:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
