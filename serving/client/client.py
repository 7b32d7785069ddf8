"""The client: a method for each of DRAW's signatures, NumPy arrays in and out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Sequence as Series
from typing import Any

import grpc
import numpy as np

from serving.client import calls, channel, chunks, errors, wire
from serving.client.answers import ModelMetadata, Signature, TensorSpec, VersionStatus
from serving.client.signature_calls import Outputs, SignatureCalls
from serving.client.tensor_codec import dtype_of, from_tensor, to_tensor

DEFAULT_SERVER = "127.0.0.1:8500"
"""TF Serving's default port on this host."""

_STATES = {0: "UNKNOWN", 10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_SIGNATURES = "signature_def"
_RETRY = calls.Retry()
_CHUNKING = chunks.Chunks()


class Client(SignatureCalls):
    """Asks one model of a server. Threads may share it; `with` closes it.

    A call of more rows than a chunk holds becomes several requests, with a bounded number in flight; the rows of its
    answer are in the order of the call, and all from the same version of the model.

    Every method raises a `ServingError`, whose class says what happened and whose message what to do.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        timeout_seconds: float = 60.0,
        retry: calls.Retry = _RETRY,
        chunking: chunks.Chunks = _CHUNKING,
        max_message_bytes: int = channel.MAX_MESSAGE_BYTES,
        tls: channel.Tls | None = None,
        metadata: Series[tuple[str, str | bytes]] = (),
    ) -> None:
        """Opens the channel; nothing is sent before the first call.

        Args:
          server: HOST:PORT of its gRPC.
          model: the model's name on the server: that of its task.
          version: the number of the version to ask.
          label: the label of the version to ask, such as "stable"; without both, the newest answers.
          timeout_seconds: how long a call may take, with all its chunks and retries.
          retry: when to send a request again.
          chunking: how to cut large requests.
          max_message_bytes: the limit of a single message.
          tls: secures the channel; None sends everything in plain text.
          metadata: gRPC metadata sent with every request, such as ("authorization", "Bearer ...").

        Raises:
          ValueError: for a version as well as a label, or a timeout that is not positive.
        """
        if version is not None and label is not None:
            raise ValueError(
                f"Got version {version} and label {label!r}; give one of them, for either names a version."
            )
        if not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}; expected more than 0.")
        self.server = server
        self.model = model
        self._version = version
        self._label = label
        self._timeout_seconds = timeout_seconds
        self._retry = retry
        self._chunking = chunking
        self._metadata = tuple(metadata)
        self._signatures: Mapping[str, Signature] | None = None
        self._channel = channel.open_channel(server, tls=tls, max_message_bytes=max_message_bytes)
        self._methods = {name: self._method(name, *types) for name, types in wire.METHODS.items()}

    def close(self) -> None:
        """Closes the channel; calls in flight are cancelled."""
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
        call = _Call(self, timeout_seconds)
        rows = _rows(inputs)
        if rows == 1:
            pieces = [slice(0, 1)]
        else:
            pieces = self._chunking.slices(rows, self._row_bytes(call, signature, inputs, output_filter))
        requests = [
            lambda piece=piece: self._request(signature, inputs, piece, output_filter)  # type: ignore[misc]
            for piece in pieces
        ]
        answers = self._from_one_version(call, requests)
        parts = [
            _outputs(answer, piece.stop - piece.start, expected) for answer, piece in zip(answers, pieces, strict=True)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def status(self, *, timeout_seconds: float | None = None) -> list[VersionStatus]:
        """Returns the state of every version on the server, the newest first, or of the one that the client names."""
        call = _Call(self, timeout_seconds)
        answer = call.one(wire.GET_MODEL_STATUS, wire.GetModelStatusRequest(model_spec=self._spec()))
        statuses = [
            VersionStatus(status.version, _STATES.get(status.state, "UNKNOWN"), status.status.error_message)
            for status in answer.model_version_status
        ]
        return sorted(statuses, reverse=True)

    def metadata(self, *, timeout_seconds: float | None = None) -> ModelMetadata:
        """Returns the signatures of the version that answers."""
        return self._read_metadata(_Call(self, timeout_seconds))

    def window_size(self, side: str) -> None:
        """Returns None: TF Serving's protocol does not tell it."""

    def ask(self, method: str, request: Any) -> Any:
        """Sends a request of `wire` once, as it is, and returns the response. Raises grpc.RpcError if it is refused."""
        return self._methods[method](request, timeout=self._timeout_seconds, metadata=self._metadata)

    def _read_metadata(self, call: _Call) -> ModelMetadata:
        request = wire.GetModelMetadataRequest(model_spec=self._spec(), metadata_field=[_SIGNATURES])
        answer = call.one(wire.GET_MODEL_METADATA, request)
        signatures = wire.SignatureDefMap.FromString(answer.metadata[_SIGNATURES].value).signature_def
        return ModelMetadata(
            name=answer.model_spec.name,
            version=answer.model_spec.version.value,
            signatures={
                name: Signature(_specs(signature.inputs), _specs(signature.outputs))
                for name, signature in sorted(signatures.items())
                if not name.startswith("__")  # TensorFlow's own, for initialisation
            },
        )

    def _row_bytes(
        self, call: _Call, signature: str, inputs: Mapping[str, np.ndarray], output_filter: tuple[str, ...]
    ) -> int:
        # Read once: a later version of the model has the same signatures, or is another model.
        if self._signatures is None:
            self._signatures = self._read_metadata(call).signatures
        known = self._signatures.get(signature, Signature({}, {}))
        return chunks.row_bytes(known, inputs, output_filter)

    def _from_one_version(self, call: _Call, requests: list[Any]) -> list[Any]:
        """Returns the answers in order; asks again for those of another version than the last one's."""
        answers: dict[int, Any] = {}
        missing = list(range(len(requests)))
        while missing:
            current = None
            for place, answer in call.many(wire.PREDICT, [requests[index] for index in missing]):
                answers[missing[place]] = answer
                current = answer.model_spec.version.value
            missing = [index for index, answer in answers.items() if answer.model_spec.version.value != current]
        return [answers[index] for index in range(len(requests))]

    def _request(
        self, signature: str, inputs: Mapping[str, np.ndarray], rows: slice, output_filter: tuple[str, ...]
    ) -> Any:
        request = wire.PredictRequest(model_spec=self._spec(signature), output_filter=output_filter)
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(to_tensor(array[rows]))
        return request

    def _spec(self, signature: str = "") -> Any:
        spec = wire.ModelSpec(name=self.model, signature_name=signature, version_label=self._label or "")
        if self._version is not None:
            spec.version.value = self._version
        return spec

    def _method(self, name: str, request: Any, response: Any) -> grpc.UnaryUnaryMultiCallable:
        return self._channel.unary_unary(
            name, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )

    def _description(self) -> str:
        text = f"model {self.model!r}"
        if self._version is not None:
            text += f" of version {self._version}"
        return text + (f" with label {self._label!r}" if self._label else "")


class _Call:
    """One call of a client's method, whose requests share a deadline."""

    def __init__(self, client: Client, timeout_seconds: float | None) -> None:
        self._client = client
        self._timeout_seconds = client._timeout_seconds if timeout_seconds is None else timeout_seconds
        if not self._timeout_seconds > 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}; expected more than 0.")
        self._deadline = time.monotonic() + self._timeout_seconds

    def one(self, method: str, request: Any) -> Any:
        ((_, answer),) = self.many(method, [lambda: request])
        return answer

    def many(self, method: str, requests: list[Any]) -> Any:
        client = self._client
        try:
            yield from calls.run(
                client._methods[method],
                requests,
                deadline=self._deadline,
                in_flight=client._chunking.in_flight,
                retry=client._retry,
                metadata=client._metadata,
            )
        except calls.CallFailed as failed:
            raise errors.from_rpc(
                failed.error,
                server=client.server,
                model=client._description(),
                timeout_seconds=self._timeout_seconds,
                attempts=failed.attempts,
            ) from failed.error


def _rows(inputs: Mapping[str, np.ndarray]) -> int:
    rows = {name: array.shape[0] if array.ndim else None for name, array in inputs.items()}
    if len(set(rows.values())) != 1 or not all(rows.values()):
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items()) or "none"
        raise errors.BadInput(f"The inputs must have the same number of rows, at least 1; got {shapes}.")
    return next(iter(rows.values()))  # type: ignore[return-value]


def _outputs(answer: Any, rows: int, expected: Series[str]) -> Outputs:
    outputs = {name: from_tensor(tensor, name) for name, tensor in answer.outputs.items()}
    missing = [name for name in expected if name not in outputs]
    if missing:
        raise errors.UnexpectedAnswer(f"The answer has no {', '.join(missing)}, only {sorted(outputs)}.")
    for name, array in outputs.items():
        if array.shape[:1] != (rows,):
            raise errors.UnexpectedAnswer(f"The answer's {name} has the shape {list(array.shape)} for {rows} rows.")
    return outputs


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(dtype_of(info.dtype), _shape(info.tensor_shape)) for name, info in sorted(infos.items())}


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in shape.dim)
