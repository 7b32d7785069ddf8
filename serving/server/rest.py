"""TF Serving's REST API, the page for Prometheus and the live page, as an ASGI application."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.parse
import zlib
from collections.abc import Awaitable, Iterable, Iterator
from typing import Any, TypeVar

import anyio
import grpc
from google.protobuf import json_format
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2

from serving.rest_json import bodies, printing
from serving.rest_json.reader_process import BodyReader, ReaderFailed
from serving.server import predictor, status_error, tensor_protos
from serving.server.http_callers import HttpCallers
from serving.server.live_page_files import LivePage
from serving.server.memory_budget import MemoryBudget, Reservation
from serving.server.model_service import status_response
from serving.server.predictor import Predictor
from serving.server.prometheus_metrics import Metrics
from serving.server.served_models import ServedModels
from serving.server.server_config import ServerConfig

T = TypeVar("T")

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_CALL = re.compile(rf"{_MODEL}:(?P<method>predict|classify)")
_LOOK = re.compile(rf"{_MODEL}(?P<metadata>/metadata)?")

_ELEMENT_BYTES = 64
"""Memory that a value of a body takes while it is parsed; a short list takes the most."""
_PIECE_BYTES = 64 * 2**10
"""Of a body that is inflated, or an answer that is sent, at a time."""

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


class RestApi:
    """Answers HTTP requests on gRPC's event loop, within the same budget of memory."""

    def __init__(
        self, config: ServerConfig, predictor: Predictor, models: ServedModels, metrics: Metrics, budget: MemoryBudget
    ) -> None:
        self._predictor = predictor
        self._models = models
        self._metrics = metrics
        self._budget = budget
        self._callers = HttpCallers(
            host=config.host,
            allowed_hosts=config.allowed_hosts,
            any_origin=config.rest_api_enable_cors_support,
        )
        self._timeout = config.rest_api_timeout_in_ms / 1000
        self._places = asyncio.Semaphore(config.rest_api_num_threads)
        self._max_request_bytes = config.max_request_bytes
        self._prometheus_path = config.prometheus_path
        self._live = LivePage(models) if config.live_page else None
        self._reader = BodyReader()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope, receive)
        with self._budget.reserve() as memory:
            try:
                response = await self._respond(request, memory)
            except ClientDisconnect:
                return
            except Exception as error:
                response = _refusal(request, error)
            await response(scope, receive, send)

    def close(self) -> None:
        """Ends the processes that read large bodies."""
        self._reader.close()

    async def _respond(self, request: Request, memory: Reservation) -> Response:
        self._callers.expect_own_host(request.headers, request.scope["http_version"])
        path = request.scope["raw_path"].decode("ascii")
        if request.method in ("GET", "HEAD"):
            return self._get(path, request)
        call, look = _CALL.fullmatch(path), _LOOK.fullmatch(path)
        allowed = "POST, OPTIONS" if call else "GET, HEAD, OPTIONS"
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": allowed})
        if request.method != "POST" or look:
            raise HTTPException(405, f"{path[:200]} takes {allowed}, not {request.method}.", {"Allow": allowed})
        if call is None:
            raise _unknown(path, request.method)
        spec = _spec(call)
        self._callers.expect_call(request.headers)
        # One deadline for the body and the answer to it, so that nobody takes longer by sending slowly.
        deadline = time.monotonic() + self._timeout
        body, elements = await _until(deadline, self._read_body(request, memory), 408, "The body did not come")
        answer = self._call(spec, call["method"], body, _ELEMENT_BYTES * elements, memory, deadline)
        del body
        model = spec.name if self._models.has(spec.name) else ""
        observed = _while_connected(request, self._metrics.observe(model, call["method"], "REST", answer))
        return await _json_response(await _until(deadline, observed, 504, "There was no answer"))

    def _get(self, path: str, request: Request) -> Response:
        if path == self._prometheus_path:
            return Response(self._metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4"})
        live = self._live.get(path, request.scope["query_string"].decode("latin-1")) if self._live else None
        if live is not None:
            return live
        match = _LOOK.fullmatch(path)
        if match is None:
            raise _unknown(path, request.method)
        spec = _spec(match)
        return _indented(self._metadata(spec) if match["metadata"] else self._statuses(spec))

    def _metadata(self, spec: model_pb2.ModelSpec) -> dict[str, Any]:
        with self._models.acquire(spec) as servable:
            response = predictor.metadata(
                servable, get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
            )
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        spec = response.model_spec
        return {
            "model_spec": {"name": spec.name, "signature_name": "", "version": str(spec.version.value)},
            "metadata": {"signature_def": json_format.MessageToDict(signatures, preserving_proto_field_name=True)},
        }

    def _statuses(self, spec: model_pb2.ModelSpec) -> dict[str, Any]:
        state = get_model_status_pb2.ModelVersionStatus.State
        codes = {code.value[0]: code.name for code in grpc.StatusCode}
        return {
            "model_version_status": [
                {
                    "version": str(row.version),
                    "state": state.Name(row.state),
                    "status": {
                        "error_code": codes[row.status.error_code],
                        "error_message": row.status.error_message,
                    },
                }
                for row in status_response(self._models.statuses(spec)).model_version_status
            ]
        }

    async def _read_body(self, request: Request, memory: Reservation) -> tuple[bytes, int]:
        """Reads the body, and inflates it where it is compressed; returns it and how many values it has at most."""
        encoding = request.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise HTTPException(415, f"The body is encoded as {encoding[:100]!r}; send it plain, or as gzip.")
        length = request.headers.get("content-length", "0")
        # The body of a caller that asks first whether to send it, and is told no, stays where it is.
        if int(length) > self._max_request_bytes:
            raise self._too_large(length)
        inflate = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
        body, elements, sent = bytearray(), 0, 0
        async for chunk in request.stream():
            sent += len(chunk)
            if sent > self._max_request_bytes:  # A gzip may be of blocks that hold nothing.
                raise self._too_large(f"{sent} or more")
            for piece in [chunk] if inflate is None else _inflated(inflate, chunk):
                memory.grow(len(piece))
                body += piece
                elements += bodies.count_elements(piece)
                if len(body) > self._max_request_bytes:
                    raise self._too_large(f"{len(body)} or more")
                if elements > bodies.MAX_ELEMENTS:
                    raise HTTPException(413, f"The body has more than {bodies.MAX_ELEMENTS} values: send fewer rows.")
                if inflate is not None:
                    await asyncio.sleep(0)
        if inflate is not None and not inflate.eof:
            raise HTTPException(400, "The body's gzip ends too early.")
        return bytes(body), elements

    def _too_large(self, length: str) -> HTTPException:
        return HTTPException(413, f"The body has {length} bytes; this server takes at most {self._max_request_bytes}.")

    async def _call(
        self, spec: model_pb2.ModelSpec, method: str, body: bytes, parsing: int, memory: Reservation, deadline: float
    ) -> Iterator[bytes]:
        with self._models.acquire(spec) as servable:
            memory.grow(parsing)
            try:
                parsed = await self._reader.read(method, body)
            except ReaderFailed as error:
                raise status_error.StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)) from None
            except ValueError as error:
                raise status_error.invalid(str(error)) from None
            del body
            memory.grow(-parsing)
            if method == "classify":
                return await self._classify(servable, parsed, deadline)
            return await self._predict(servable, parsed, memory, deadline)

    async def _predict(self, servable: Any, parsed: Any, memory: Reservation, deadline: float) -> Iterator[bytes]:
        signature = predictor.predict_signature(servable, parsed.signature_name)
        columns = parsed.columns
        if "" in columns and len(columns) == 1:
            if len(signature.inputs) != 1:
                raise status_error.invalid(
                    f"The signature takes {sorted(signature.inputs)}, so every value must be named."
                )
            columns = dict(zip(signature.inputs, columns.values(), strict=True))
        predictor.expect_aliases(signature, columns)
        memory.grow(sum(value.nbytes for value in columns.values()))
        inputs = {
            alias: tensor_protos.fit(alias, columns[alias], spec, max_rows=self._predictor.max_rows)
            for alias, spec in signature.inputs.items()
        }
        async with self._places:
            outputs = await self._predictor.compute(signature, inputs, deadline=deadline)
        try:
            return printing.print_predict(outputs, by_rows=parsed.by_rows)
        except ValueError as error:
            raise status_error.invalid(str(error)) from None

    async def _classify(self, servable: Any, parsed: Any, deadline: float) -> Iterator[bytes]:
        signature = predictor.classify_signature(servable, parsed.signature_name)
        inputs = predictor.examples_input(signature, parsed.examples, max_rows=self._predictor.max_rows)
        async with self._places:
            outputs = await self._predictor.compute(signature, inputs, deadline=deadline)
        predictor.expect_classifications(outputs, len(parsed.examples))
        return printing.print_classifications(outputs.get("classes"), outputs.get("scores"))


def compressing(app: ASGIApp, *, any_origin: bool) -> ASGIApp:
    """Adds compressed answers for callers that accept them, and CORS's headers for pages of any origin."""
    app = GZipMiddleware(app, minimum_size=1024, compresslevel=1)
    if any_origin:
        app = CORSMiddleware(app, allow_origins=["*"], allow_methods=["GET", "POST"], allow_headers=["*"])
    return app


async def _until(deadline: float, answer: Awaitable[T], status: int, late: str) -> T:
    # Not asyncio's wait_for: an error that passes through it stays in memory, with the request, as a circle.
    with anyio.move_on_after(deadline - time.monotonic()):
        return await answer
    raise HTTPException(status, f"{late} in time, see --rest_api_timeout_in_ms.")


async def _while_connected(request: Request, answer: Awaitable[T]) -> T:
    """Awaits the answer, and cancels it and raises ClientDisconnect where the caller hangs up meanwhile."""
    with anyio.CancelScope() as scope:
        end = asyncio.ensure_future(_disconnect(request.receive))
        end.add_done_callback(lambda _: None if end.cancelled() else scope.cancel())
        try:
            return await answer
        finally:
            end.cancel()
    raise ClientDisconnect


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _json_response(pieces: Iterator[bytes]) -> Response:
    """Makes a response of one piece, or of chunks where it is long."""
    chunks = _joined(pieces)
    first = next(chunks)
    headers = {"Content-Type": "application/json"}
    if len(first) < _PIECE_BYTES:
        return Response(first, headers=headers)

    async def body() -> Any:
        yield first
        for chunk in chunks:
            yield chunk
            # The others' turn: a caller that reads fast would keep the loop to itself.
            await asyncio.sleep(0)

    return StreamingResponse(body(), headers=headers)


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    chunk = bytearray()
    for piece in pieces:
        chunk += piece
        if len(chunk) >= _PIECE_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _inflated(inflate: Any, chunk: bytes) -> Iterator[bytes]:
    try:
        piece = inflate.decompress(chunk, _PIECE_BYTES)
        while piece:
            yield piece
            piece = inflate.decompress(inflate.unconsumed_tail, _PIECE_BYTES)
    except zlib.error as error:
        raise HTTPException(400, f"The body is no gzip: {error}.") from None
    if inflate.unused_data:  # It would keep all that comes.
        raise HTTPException(400, "The body goes on after its gzip.")


def _refusal(request: Request, error: Exception) -> Response:
    headers = None
    if isinstance(error, HTTPException):
        status, reason, headers = error.status_code, error.detail, error.headers
    else:
        code, reason = status_error.report(error, f"{request.method} {request.scope['path']}")
        status = _HTTP_STATUSES.get(code, 500)
    return _indented({"error": reason}, status, headers)


def _indented(content: dict[str, Any], status: int = 200, headers: Any = None) -> Response:
    return Response(json.dumps(content, indent=1), status, headers, media_type="application/json")


def _unknown(path: str, method: str) -> Exception:
    if path.startswith("/v1/"):
        return status_error.invalid(f"Malformed request: {method} {path}")
    return HTTPException(404, f"There is nothing at {path[:200]}; models are at /v1/models/NAME.")


def _spec(match: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=urllib.parse.unquote(match["name"]))
    if match["version"]:
        if len(match["version"]) > 19 or int(match["version"]) >= 2**63:
            raise status_error.invalid(f"{match['version'][:40]} is no version number.")
        spec.version.value = int(match["version"])
    elif match["label"]:
        spec.version_label = urllib.parse.unquote(match["label"])
    return spec
