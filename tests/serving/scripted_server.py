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


def echo(request: Any, context: grpc.ServicerContext, *, version: int = 1) -> Any:
    """Answers `sample` with images that encode the seeds."""
    del context
    answer = wire.PredictResponse()
    answer.model_spec.version.value = version
    answer.outputs["image"].CopyFrom(to_tensor(image_of(from_tensor(request.inputs["seed"], "seed"))))
    return answer


def metadata(request: Any, context: grpc.ServicerContext) -> Any:
    """Answers with one signature, `sample`: `image` [n, 2, 3, 1] and `canvas` [n, 4, 2, 3, 1], float32."""
    del context
    signatures = wire.SignatureDefMap()
    sample = signatures.signature_def["sample"]
    sample.inputs["seed"].dtype = 9
    for size in (-1, 2):
        sample.inputs["seed"].tensor_shape.dim.add(size=size)
    for name, shape in (("image", (-1, 2, 3, 1)), ("canvas", (-1, 4, 2, 3, 1))):
        sample.outputs[name].dtype = 1
        for size in shape:
            sample.outputs[name].tensor_shape.dim.add(size=size)
    answer = wire.GetModelMetadataResponse(model_spec=request.model_spec)
    answer.metadata["signature_def"].value = signatures.SerializeToString()
    return answer


class Script:
    """Answers Predict as `answer` does, and records the requests."""

    def __init__(self, answer: Answer = echo) -> None:
        self.answer = answer
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
) -> Iterator[str]:
    """Serves the script on a free port of the loopback; yields HOST:PORT."""
    methods = {wire.PREDICT: script.predict, wire.GET_MODEL_METADATA: metadata}
    server = grpc.server(futures.ThreadPoolExecutor(16), options=list(options))
    for service in ("PredictionService", "ModelService"):
        handlers = {
            name.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(
                method,
                request_deserializer=wire.METHODS[name][0].FromString,
                response_serializer=wire.METHODS[name][1].SerializeToString,
            )
            for name, method in methods.items()
            if service in name
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(f"tensorflow.serving.{service}", handlers)]
        )
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
