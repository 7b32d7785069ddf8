"""TF Serving's REST API, the page for Prometheus and the live page, on the standard library's HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import logging
import re
import socket
import socketserver
import threading
import time
import urllib.parse
from collections.abc import Coroutine, Iterator, Mapping
from concurrent import futures
from typing import Any, TypeVar

import grpc
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from serving.server import json_tensors, predictor, status_error
from serving.server.live_page_files import LivePage
from serving.server.model_service import status_response
from serving.server.predictor import Predictor
from serving.server.prometheus_metrics import Metrics
from serving.server.request_observer import RequestObserver
from serving.server.served_models import ServedModels

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_CALL = re.compile(rf"{_MODEL}:(?P<method>predict|classify)")
_LOOK = re.compile(rf"{_MODEL}(?P<metadata>/metadata)?")

_HTTP_STATUSES = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""As TF Serving maps them; anything else is 500."""


class RestServer:
    """Answers HTTP on threads; the Predictor computes on gRPC's event loop, as for gRPC."""

    def __init__(
        self,
        predictor: Predictor,
        models: ServedModels,
        metrics: Metrics,
        observer: RequestObserver,
        loop: asyncio.AbstractEventLoop,
        *,
        host: str,
        port: int,
        timeout: float,
        connections: int,
        max_request_bytes: int,
        prometheus_path: str | None,
        live_page: bool,
    ) -> None:
        """Binds the port. Raises OSError where it is taken."""

        class Handler(_Handler):
            pass

        Handler.timeout = timeout
        Handler.predictor = predictor
        Handler.models = models
        Handler.metrics = metrics
        Handler.observer = observer
        Handler.loop = loop
        Handler.max_request_bytes = max_request_bytes
        Handler.prometheus_path = prometheus_path
        Handler.live = LivePage(models) if live_page else None
        self._server = _BoundedServer((host, port), Handler, connections)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="rest", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Takes no more connections."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def wait_for_requests(self, seconds: float) -> None:
        """Returns when all requests under way are answered, or after so many seconds."""
        self._server.wait_for_requests(seconds)


class _BoundedServer(http.server.ThreadingHTTPServer):
    """An HTTP server that refuses connections beyond a fixed number of open ones."""

    # The threads of idle connections are such; a stop must not wait until their callers hang up.
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler], connections: int
    ) -> None:
        self._places = threading.BoundedSemaphore(connections)
        self._requests = 0
        self._answered = threading.Condition()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    @contextlib.contextmanager
    def counted_request(self) -> Iterator[None]:
        """Counts a request as under way meanwhile."""
        with self._answered:
            self._requests += 1
        try:
            yield
        finally:
            with self._answered:
                self._requests -= 1
                self._answered.notify_all()

    def wait_for_requests(self, seconds: float) -> None:
        """Returns when no request is under way, or after so many seconds."""
        with self._answered:
            self._answered.wait_for(lambda: not self._requests, seconds)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a thread for the connection, or refuses it."""
        if not self._places.acquire(blocking=False):
            body = b'{"error": "Too many connections are open: try again later."}'
            head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            try:
                request.settimeout(1.0)
                request.sendall(head.encode() + body)
            except OSError:
                pass
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers the connection's requests, on its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs at DEBUG: a caller that hangs up is nothing to report."""
        _log.debug("A connection of %s ended early", client_address, exc_info=True)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version = "draw-serve"
    # Without it an answer's body waits for the caller to acknowledge its head.
    disable_nagle_algorithm = True

    predictor: Predictor
    models: ServedModels
    metrics: Metrics
    observer: RequestObserver
    loop: asyncio.AbstractEventLoop
    max_request_bytes: int
    prometheus_path: str | None
    live: LivePage | None
    server: _BoundedServer

    def do_GET(self) -> None:
        """Answers with a status, metadata, the metrics or the live page."""
        _, _, path, query, _ = urllib.parse.urlsplit(self.path)
        if path == self.prometheus_path:
            self._send(200, self.metrics.page(), {"Content-Type": "text/plain; version=0.0.4"})
        elif self.live is not None and (answer := self.live.get(path, query)) is not None:
            self._send(*answer)
        else:
            self._answer(lambda: self._look(path))

    def do_POST(self) -> None:
        """Answers predict and classify."""
        with self.server.counted_request():
            self._answer(self._call)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs at DEBUG: the metrics count requests."""
        _log.debug(format, *args)

    def _answer(self, answer: Any) -> None:
        try:
            self._send_json(200, answer())
        except _HttpError as error:
            self._send_json(error.status, json.dumps({"error": str(error)}))
        except Exception as error:
            reason = status_error.from_exception(error)
            if reason.code == grpc.StatusCode.INTERNAL:
                _log.error("%s %s failed", self.command, self.path, exc_info=error)
            self._send_json(_HTTP_STATUSES.get(reason.code, 500), json.dumps({"error": reason.message}))

    def _look(self, path: str) -> str:
        match = _LOOK.fullmatch(path)
        if match is None:
            raise self._unknown(path)
        spec = _spec(match)
        if match["metadata"]:
            request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
            return json_tensors.from_metadata(self.predictor.metadata(request))
        response = status_response(self.models.statuses(spec))
        state = get_model_status_pb2.ModelVersionStatus.State
        rows = [
            {
                "version": str(row.version),
                "state": state.Name(row.state),
                "status": {"error_code": _code_name(row.status.error_code), "error_message": row.status.error_message},
            }
            for row in response.model_version_status
        ]
        return json.dumps({"model_version_status": rows}, indent=1)

    def _call(self) -> str:
        body = self._body()
        path = urllib.parse.urlsplit(self.path).path
        match = _CALL.fullmatch(path)
        if match is None:
            raise self._unknown(path)
        parsed = json_tensors.parse(body)
        spec = _spec(match)
        name = parsed.get("signature_name", "")
        if not isinstance(name, str):
            raise status_error.invalid("'signature_name' must be text.")
        spec.signature_name = name
        return self._predict(spec, parsed) if match["method"] == "predict" else self._classify(spec, parsed)

    def _predict(self, spec: model_pb2.ModelSpec, parsed: dict[str, Any]) -> str:
        request = predict_pb2.PredictRequest(model_spec=spec)
        with self.models.acquire(spec) as servable:
            inputs = predictor.predict_signature(servable, spec).inputs
            by_rows = json_tensors.fill_predict(parsed, inputs, request)
            answer = self.predictor.predict_with(servable, request, deadline=self._deadline())
            response = self._wait(spec, "predict", answer)
        return json_tensors.from_predict(response, rows=by_rows)

    def _classify(self, spec: model_pb2.ModelSpec, parsed: dict[str, Any]) -> str:
        request = classification_pb2.ClassificationRequest(model_spec=spec)
        json_tensors.fill_examples(parsed, request.input)
        response = self._wait(spec, "classify", self.predictor.classify(request, deadline=self._deadline()))
        return json_tensors.from_classifications(response.result)

    def _deadline(self) -> float:
        return time.monotonic() + (self.timeout or 0.0)

    def _wait(self, spec: model_pb2.ModelSpec, api: str, answer: Coroutine[Any, Any, T]) -> T:
        observed = self.observer.observe(spec.name, api, "REST", answer)
        future = asyncio.run_coroutine_threadsafe(observed, self.loop)
        try:
            return future.result(self.timeout)
        except futures.TimeoutError as error:
            future.cancel()
            raise status_error.StatusError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"There was no answer within {self.timeout:g} s."
            ) from error

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not length:
            self.close_connection = True
            raise _HttpError(411, "Send the body's length in the header Content-Length; this server reads no chunks.")
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise _HttpError(400, "The header Content-Length is no number.")
        if len(length) > 18 or int(length) > self.max_request_bytes:
            self.close_connection = True
            raise _HttpError(413, f"The body has {length} bytes; this server takes at most {self.max_request_bytes}.")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            raise _HttpError(400, f"The body ended after {len(body)} of {length} bytes.")
        return body

    def _unknown(self, path: str) -> Exception:
        if path.startswith("/v1/"):
            return status_error.invalid(f"Malformed request: {self.command} {path}")
        return _HttpError(404, f"There is nothing at {path}; models are at /v1/models/NAME.")

    def _send_json(self, status: int, body: str) -> None:
        self._send(status, body.encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


class _HttpError(Exception):
    """An answer that HTTP has a status for and gRPC no code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _spec(match: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=urllib.parse.unquote(match["name"]))
    if match["version"]:
        if int(match["version"]) >= 2**63:
            raise status_error.invalid(f"{match['version']} is no version number.")
        spec.version.value = int(match["version"])
    elif match["label"]:
        spec.version_label = urllib.parse.unquote(match["label"])
    return spec


def _code_name(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)
