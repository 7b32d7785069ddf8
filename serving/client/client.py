"""The client: a method for each of DRAW's signatures, NumPy arrays in and out."""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Series
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import numpy as np
from google.protobuf.message import EncodeError

from serving import message_limits
from serving.client import address, calls, channel, chunks, errors, proxies, readiness, wire
from serving.client.answers import ModelMetadata, Signature, TensorSpec, VersionStatus
from serving.client.signature_calls import Outputs, SignatureCalls, as_array, row_count
from serving.client.tensor_codec import MOST_DIMENSIONS, dtype_of, from_tensor, shape_of, text_of_shape, to_tensor
from serving.client.version_pin import VersionGone, VersionPin, version_of
from serving.exported_task import ExportedTask
from serving.reference.model_reference import BadReference, Reference

if TYPE_CHECKING:
    from serving.images.image_format import ImageFormat

DEFAULT_SERVER = "127.0.0.1:8500"
"""TF Serving's default port on this host."""

_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_SIGNATURES = "signature_def"
_TASK = "task"
_REFERENCE = "reference"
_Value = TypeVar("_Value")
_LARGEST_WINDOW = 10_000
_RETRY = calls.Retry()
_CHUNKING = chunks.Chunks()
_LONGEST_TIMEOUT = 1e9
"""More seconds than gRPC can count are as many as these."""
_DEFAULT_SIGNATURE = "serving_default"
_OUTAGE_SECONDS = 1.0
"""After so long without an answer, a caller hears that the server is away."""

_SMALL_BYTES = 2**20
"""What a message of few fields may count in memory, however few bytes a message may have."""

Report = Callable[[str], object]
"""Called with a line of text for people."""


def _silent(line: str) -> None:
    del line


class Client(SignatureCalls):
    """Asks one model of a server. Threads may share it; `with` closes it.

    A call of more rows than a chunk holds becomes several requests, with a bounded number in flight; the rows of its
    answer are in the order of the call, and all from one version of the model, that of the first answer.

    Every method raises a `ServingError`, whose class says what happened and whose message what to do. Nothing is built
    of an answer that is not what was asked for, or that would take more than `max_message_bytes`.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        timeout_seconds: float = 60.0,
        wait_seconds: float = 0.0,
        retry: calls.Retry = _RETRY,
        chunking: chunks.Chunks = _CHUNKING,
        max_message_bytes: int = channel.MAX_MESSAGE_BYTES,
        tls: channel.Tls | None = None,
        metadata: Series[tuple[str, str | bytes]] = (),
        report: Report = _silent,
    ) -> None:
        """Opens the channel; nothing is sent before the first call.

        A proxy of the environment (grpc_proxy, https_proxy, http_proxy) is used, but not for servers of this host, nor
        for those in NO_PROXY or no_proxy.

        Args:
          server: HOST:PORT of its gRPC.
          model: the model's name on the server: that of its task.
          version: the number of the version to ask.
          label: the label of the version to ask, such as "stable"; without both, the newest answers.
          timeout_seconds: how long a call may take, with all its chunks and retries.
          wait_seconds: how long the first call waits beforehand for a server that is starting or loading the model.
          retry: when to send a request again.
          chunking: how to cut large requests.
          max_message_bytes: the limit of a single message, and of the arrays in it.
          tls: secures the channel; None sends everything in plain text.
          metadata: gRPC metadata sent with every request, such as ("authorization", "Bearer ...").
          report: gets a line when a call waits for the server.

        Raises:
          ValueError: for an address, a name or a version that cannot be one, a version as well as a label, or a timeout
            that is not positive.
        """
        if version is not None and label is not None:
            raise ValueError(
                f"Got version {version} and label {label!r}; give one of them, for either names a version."
            )
        if not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}; expected more than 0.")
        if not wait_seconds >= 0:
            raise ValueError(f"wait_seconds is {wait_seconds}; expected 0 or more.")
        parsed = address.parse(server)
        self.server = server
        self.model = model
        self._version = version
        self._label = label
        self._timeout_seconds = timeout_seconds
        self._wait_seconds = wait_seconds
        self._retry = retry
        self._chunking = chunking
        self._max_message_bytes = max_message_bytes
        self._metadata = tuple(metadata)
        self._report = report
        self._known: ModelMetadata | None = None
        self._references: dict[int | None, Reference | None] = {}
        self._waiting = threading.Lock()
        self._is_ready = not wait_seconds
        self._is_closed = False
        self._spec(version=version)  # raises where it cannot be sent
        self._proxy = proxies.proxy_for(parsed)
        self._channel = channel.open_channel(parsed, proxy=self._proxy, tls=tls, max_message_bytes=max_message_bytes)
        self._methods = {name: self._channel.unary_unary(name) for name in wire.METHODS}

    def close(self) -> None:
        """Closes the channel; calls in flight are cancelled."""
        self._is_closed = True
        self._channel.close()

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        *,
        output_filter: tuple[str, ...] = (),
        timeout_seconds: float | None = None,
        expected: Series[str] = (),
    ) -> Outputs:
        """Calls a signature, see `SignatureCalls`; only the outputs in `output_filter` are sent."""
        return self._predict(self._call(timeout_seconds), signature, inputs, output_filter, expected)

    def _answer(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        timeout_seconds: float | None,
        expected: Series[str],
        *,
        with_reference: bool,
    ) -> tuple[Outputs, Reference | None]:
        call = self._call(timeout_seconds)
        outputs = self._predict(call, signature, inputs, (), expected)
        version = call.version
        if with_reference and version not in self._references:
            try:
                self._references[version] = self._read_reference(call, version)
            except errors.UnexpectedAnswer:
                self._references[version] = None
            except errors.ServingError:  # The scores are there, and worth more than what they compare with.
                return outputs, None
        return outputs, self._references[version] if with_reference else None

    def _predict(
        self,
        call: _Call,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: tuple[str, ...],
        expected: Series[str],
    ) -> Outputs:
        inputs = {name: as_array(array, name) for name, array in inputs.items()}
        rows = row_count(inputs)
        known = self._known or self._read_metadata(call, self._version)
        signatures = known.signatures
        read = {known.version}

        def promised() -> Signature:
            return signatures.get(signature or _DEFAULT_SIGNATURE, Signature({}, {}))

        def request(piece: slice, version: int | None) -> bytes:
            return self._request(signature, inputs, piece, output_filter, version)

        def outputs(answer: Any, piece: slice) -> Outputs:
            nonlocal signatures
            try:
                return self._outputs(answer, piece, promised().outputs, output_filter, expected)
            except errors.UnexpectedAnswer:
                version = version_of(answer)
                if version is None or version in read:
                    raise
                # Another version of the model, trained anew, may draw other shapes.
                read.add(version)
                signatures = self._read_metadata(call, version).signatures
                return self._outputs(answer, piece, promised().outputs, output_filter, expected)

        pieces = self._chunking.slices(rows, chunks.row_bytes(promised(), inputs, output_filter))
        return _concatenate(call.of_one_version(pieces, request, outputs))

    def status(self, *, timeout_seconds: float | None = None) -> list[VersionStatus]:
        """Returns the state of every version on the server, the newest first, or of the one that the client names."""
        call = self._call(timeout_seconds)
        answer = call.one(wire.GET_MODEL_STATUS, self._status_request())
        statuses = [
            VersionStatus(
                status.version, _STATES.get(status.state, "UNKNOWN"), errors.plain(status.status.error_message)
            )
            for status in answer.model_version_status
        ]
        return sorted(statuses, reverse=True)

    def metadata(self, *, timeout_seconds: float | None = None) -> ModelMetadata:
        """Returns the signatures of the version that answers."""
        return self._read_metadata(self._call(timeout_seconds), self._version)

    def input_format(self) -> ImageFormat | None:
        """Returns how images become the model's; None of a server that tells no task, such as TF Serving."""
        images = self._from_task(lambda task: task.input_format())
        if images is not None and images.shape != self.metadata().image_shape:
            raise errors.UnexpectedAnswer(
                f"The task that {self.server} tells has images of another shape than it takes."
            )
        return images

    def class_names(self) -> tuple[str, ...]:
        """Returns the name of each class; empty of a server that tells no task, and of classes without names."""
        return self._from_task(lambda task: task.class_names) or ()

    def window_size(self, side: str) -> int | None:
        """Returns N of the `read` or `write` window; None of a server that tells no task, such as TF Serving."""
        size = self._from_task(lambda task: {"read": task.read_filters, "write": task.write_filters}[side])
        if size is not None and not 0 < size <= _LARGEST_WINDOW:
            raise errors.UnexpectedAnswer(f"The task that {self.server} tells has a window of {size:.3g} filters.")
        return size

    def reference(self) -> Reference | None:
        """Returns what the model scores on its validation split; None of a server that tells none, such as TF Serving.

        Raises UnexpectedAnswer for one that cannot be used, such as a later version's.
        """
        return self._read_reference(self._call(None), self._version)

    def _read_reference(self, call: _Call, version: int | None) -> Reference | None:
        text = self._told(call, _REFERENCE, version)
        try:
            return None if text is None else Reference.from_json(text)
        except BadReference as error:
            raise errors.UnexpectedAnswer(f"{self.server}: {error}") from error

    def _told(self, call: _Call, field: str, version: int | None) -> str | None:
        """Asks for metadata that TF Serving does not have; None where the server tells none."""
        request = wire.GetModelMetadataRequest(model_spec=self._spec(version=version), metadata_field=[field])
        try:
            answer = call.one(wire.GET_MODEL_METADATA, request)
        except errors.BadInput:
            return None
        if field not in answer.metadata:
            return None
        text: str = self._parse(wire.StringValue, answer.metadata[field].value).value
        return text

    def _from_task(self, value: Callable[[ExportedTask], _Value]) -> _Value | None:
        """Takes a value of the task that the server tells; None where it tells none."""
        text = self._told(self._call(None), _TASK, self._version)
        if text is None:
            return None
        try:
            return value(ExportedTask(json.loads(text)))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise errors.UnexpectedAnswer(
                f"What {self.server} tells as the task is none: {type(error).__name__}."
            ) from error

    def ask(self, method: str, request: Any) -> Any:
        """Sends a request of `wire` once, as it is, and returns the response. Raises grpc.RpcError if it is refused."""
        answer = self._methods[method](
            request.SerializeToString(), timeout=self._timeout_seconds, metadata=self._metadata
        )
        return self._parse(wire.METHODS[method][1], answer)

    def _call(self, timeout_seconds: float | None) -> _Call:
        """Begins a call, when the server is ready where the client waits for it."""
        if self._is_closed:
            raise errors.ServingError(f"This client of {self.server} is closed: open another.")
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        if not seconds > 0:
            raise errors.BadInput(f"timeout_seconds is {seconds}; expected more than 0.")
        with self._waiting:
            if not self._is_ready:
                self._wait_until_ready()
                self._is_ready = True
        return _Call(self, min(seconds, _LONGEST_TIMEOUT))

    def _wait_until_ready(self) -> None:
        ask = self._methods[wire.GET_MODEL_STATUS]
        request = self._status_request().SerializeToString()

        def status(seconds: float) -> Any:
            return self._parse(wire.GetModelStatusResponse, ask(request, timeout=seconds, metadata=self._metadata))

        try:
            error = readiness.wait_until_ready(
                status, server=self.server, seconds=self._wait_seconds, report=self._report
            )
        except (TypeError, ValueError) as refusal:  # of gRPC, which does not send it
            raise errors.BadInput(f"The request cannot be sent: {refusal}.") from refusal
        if error is not None:
            raise self._error(error, attempts=1, timeout_seconds=self._wait_seconds) from error

    def _read_metadata(self, call: _Call, version: int | None) -> ModelMetadata:
        request = wire.GetModelMetadataRequest(model_spec=self._spec(version=version))
        request.metadata_field.append(_SIGNATURES)
        answer = call.one(wire.GET_MODEL_METADATA, request)
        if _SIGNATURES not in answer.metadata:
            raise errors.UnexpectedAnswer(f"The server's answer has no {_SIGNATURES}: it is no server of models.")
        signatures = self._parse(wire.SignatureDefMap, answer.metadata[_SIGNATURES].value).signature_def
        self._known = ModelMetadata(
            name=answer.model_spec.name,
            version=answer.model_spec.version.value,
            signatures={
                name: Signature(_specs(signature.inputs), _specs(signature.outputs))
                for name, signature in sorted(signatures.items())
                if not name.startswith("__")  # TensorFlow's own, for initialisation
            },
        )
        return self._known

    def _request(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        rows: slice,
        output_filter: tuple[str, ...],
        version: int | None,
    ) -> bytes:
        try:
            request = wire.PredictRequest(model_spec=self._spec(signature, version), output_filter=output_filter)
            for name, array in inputs.items():
                request.inputs[name].CopyFrom(to_tensor(array[rows]))
            message: bytes = request.SerializeToString()
        except EncodeError as error:
            raise errors.MessageTooLarge(f"A row of the request is larger than a message may be: {error}.") from error
        except (TypeError, ValueError) as error:
            raise errors.BadInput(f"The request cannot be sent: {error}.") from error
        return message

    def _status_request(self) -> Any:
        return wire.GetModelStatusRequest(model_spec=self._spec(version=self._version))

    def _spec(self, signature: str = "", version: int | None = None) -> Any:
        """Makes the model's specification; a version takes the label's place."""
        spec = wire.ModelSpec(name=self.model, signature_name=signature)
        if version is not None:
            spec.version.value = version
        elif self._label is not None:
            spec.version_label = self._label
        return spec

    def _outputs(
        self,
        answer: Any,
        piece: slice,
        specs: Mapping[str, TensorSpec],
        output_filter: tuple[str, ...],
        expected: Series[str],
    ) -> Outputs:
        """Makes the arrays of an answer, if their shapes are those that were asked for, and fit into a message."""
        rows = piece.stop - piece.start
        names = output_filter or tuple(specs) or tuple(answer.outputs)
        missing = [name for name in dict.fromkeys((*names, *expected)) if name not in answer.outputs]
        if missing:
            present = errors.plain(str(sorted(answer.outputs)))
            raise errors.UnexpectedAnswer(f"The answer has no {', '.join(missing)}, only {present}.")
        outputs: Outputs = {}
        left = self._max_message_bytes
        for name in names:
            tensor = answer.outputs[name]
            _check_rows(tensor, rows, specs.get(name), name)
            outputs[name] = from_tensor(tensor, errors.plain(name), max_bytes=left)
            left -= outputs[name].nbytes
        return outputs

    def _parse(self, message_class: Any, data: bytes) -> Any:
        try:
            return message_limits.parse(message_class, data, max_bytes=self._max_message_bytes + _SMALL_BYTES)
        except (message_limits.MalformedMessage, message_limits.MessageTakesTooMuch) as error:
            raise errors.UnexpectedAnswer(
                f"What {self.server} answers is not what a server of models answers: {error}."
            ) from error

    def _error(self, error: grpc.RpcError, *, attempts: int, timeout_seconds: float) -> errors.ServingError:
        model = f"model {self.model!r}"
        if self._version is not None:
            model += f" of version {self._version}"
        if self._label is not None:
            model += f" with label {self._label!r}"
        return errors.from_rpc(
            error,
            server=self.server,
            model=model,
            timeout_seconds=timeout_seconds,
            attempts=attempts,
            proxy=self._proxy,
        )


class _Call:
    """One call of a client's method, whose requests share a deadline."""

    def __init__(self, client: Client, timeout_seconds: float) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds
        self._pin = VersionPin(client._version, patient=client._retry.patient)
        self._failing_since: float | None = None
        self._reported = False

    @property
    def version(self) -> int | None:
        """The version that has answered, if any of its answers named it."""
        return self._pin.version

    def one(self, method: str, request: Any) -> Any:
        ((_, answer),) = self._many(method, [request.SerializeToString])
        return answer

    def of_one_version(
        self,
        pieces: list[slice],
        request: Callable[[slice, int | None], bytes],
        outputs: Callable[[Any, slice], Outputs],
    ) -> list[Outputs]:
        """Asks for all pieces and returns their outputs in order; begins anew where the first answer's version is gone.

        Args:
          pieces: the rows of each request.
          request: makes the request for a piece of the newest version, or of the one given.
          outputs: makes a piece's outputs of its answer, as soon as it is there.
        """
        while True:
            try:
                return self._of_pinned_version(pieces, request, outputs)
            except VersionGone:
                self._pin = VersionPin()

    def _of_pinned_version(
        self,
        pieces: list[slice],
        request: Callable[[slice, int | None], bytes],
        outputs: Callable[[Any, slice], Outputs],
    ) -> list[Outputs]:
        requested: dict[int, int | None] = {}
        parts: dict[int, Outputs] = {}

        def make(index: int) -> bytes:
            requested[index] = self._pin.version
            return request(pieces[index], self._pin.version)

        while missing := [index for index in range(len(pieces)) if index not in parts]:
            for place, answer in self._many(wire.PREDICT, [functools.partial(make, index) for index in missing]):
                index = missing[place]
                if self._pin.accepts(answer, requested=requested[index]):
                    parts[index] = outputs(answer, pieces[index])
        return [parts[index] for index in range(len(pieces))]

    def _many(self, method: str, requests: Series[Callable[[], bytes]]) -> Iterator[tuple[int, Any]]:
        client = self._client
        try:
            for place, answer in calls.run(
                client._methods[method],
                requests,
                deadline=self._deadline,
                in_flight=client._chunking.in_flight,
                again=self._again,
                metadata=client._metadata,
            ):
                self._failing_since = None
                yield place, client._parse(wire.METHODS[method][1], answer)
        except calls.CallFailed as failed:
            raise client._error(
                failed.error, attempts=failed.attempts, timeout_seconds=self._timeout_seconds
            ) from failed.error
        except calls.CannotSend as error:
            raise errors.BadInput(f"The request cannot be sent: {error}.") from error

    def _again(self, error: grpc.RpcError, failed: int) -> calls.Again | None:
        retry = self._client._retry
        if error.code() is grpc.StatusCode.NOT_FOUND:
            again = self._pin.again_if_absent()
        elif failed < retry.attempts and (
            error.code() is grpc.StatusCode.UNAVAILABLE or (retry.patient and errors.is_overload(error))
        ):
            again = calls.Again(retry.pause(failed))
        else:
            again = None
        self._failing_since = self._failing_since or time.monotonic()
        if again is not None and not self._reported and time.monotonic() > self._failing_since + _OUTAGE_SECONDS:
            self._reported = True
            reason = errors.plain(error.details() or "", longest=200)
            left = max(0.0, self._deadline - time.monotonic())
            self._client._report(
                f"The server at {self._client.server} does not answer; asking again for up to {left:.0f} s ({reason})"
            )
        return again


def _check_rows(tensor: Any, rows: int, spec: TensorSpec | None, name: str) -> None:
    """Raises UnexpectedAnswer for a tensor that is not of so many rows, or not what the signature promises."""
    shape, dtype = shape_of(tensor), dtype_of(tensor.dtype)
    wanted: tuple[int | None, ...] | None = (rows, *spec.shape[1:]) if spec and spec.shape else None
    if wanted is None:
        fits = shape[:1] == (rows,)
    else:
        fits = len(shape) == len(wanted) and all(size in (None, own) for size, own in zip(wanted, shape, strict=True))
    # Of an unknown dtype the codec says more.
    if not fits or (spec and dtype and spec.dtype not in (None, dtype)):
        promise = f" {spec.dtype or ''} {text_of_shape(wanted or (rows, None))}" if spec else f" {rows} rows"
        raise errors.UnexpectedAnswer(
            f"The answer's {errors.plain(name)} is {dtype} of the shape {text_of_shape(shape)} for {rows} rows; "
            f"expected{promise}."
        )


def _concatenate(parts: Series[Outputs]) -> Outputs:
    names = parts[0].keys()
    if any(part.keys() != names for part in parts):
        raise errors.UnexpectedAnswer("The answers to the parts of the request have different outputs.")
    for name in names:
        kinds = {(part[name].dtype, part[name].shape[1:]) for part in parts}
        if len(kinds) > 1:
            raise errors.UnexpectedAnswer(f"The answers to the parts of the request have {name} of different shapes.")
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(dtype_of(info.dtype), _shape(info.tensor_shape)) for name, info in sorted(infos.items())}


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    if len(shape.dim) > MOST_DIMENSIONS:
        raise errors.UnexpectedAnswer(f"The model's metadata have a shape of {len(shape.dim):,} dimensions.")
    return tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
