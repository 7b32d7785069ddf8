"""A server under test: one request gets one answer or one refusal, without retries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np

from serving.client import Client, Signature, wire
from serving.client.tensor_codec import from_tensor, to_tensor
from serving.reference.model_reference import BadReference, Reference

Outputs = dict[str, np.ndarray]


class ContractBroken(Exception):
    """The server broke the contract; the message says what was asked, expected and answered."""


class Server:
    """A server's model, asked over a client's channel with any request, valid or not."""

    def __init__(self, client: Client) -> None:
        """Reads the model's metadata. Raises ServingError if no server answers, or it has no such model."""
        self._client = client
        self.model = client.model
        self.metadata = client.metadata()

    def signature(self, name: str) -> Signature:
        """Returns the inputs and outputs of a signature."""
        return self.metadata.signatures[name]

    def latent_shape(self) -> tuple[int, int]:
        """Returns T and Z of a generative model's latent variables."""
        return self._client.latent_shape()

    def reference(self) -> Reference | None:
        """Returns the reference that the server tells, or None. Raises ContractBroken for one that cannot be used."""
        request = wire.GetModelMetadataRequest(
            model_spec=wire.ModelSpec(name=self.model), metadata_field=["signature_def", "reference"]
        )
        try:
            told = self.ask(wire.GET_MODEL_METADATA, request).metadata
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:  # TF Serving knows no such field
                return None
            raise
        if "reference" not in told:
            return None
        try:
            return Reference.from_json(wire.StringValue.FromString(told["reference"].value).value)
        except BadReference as error:
            raise ContractBroken(str(error)) from error

    def ask(self, method: str, request: Any) -> Any:
        """Returns the answer to any request. Raises grpc.RpcError if it is refused."""
        return self._client.ask(method, request)

    def request(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Any:
        """Makes a PredictRequest."""
        request = wire.PredictRequest(model_spec=wire.ModelSpec(name=self.model, signature_name=signature))
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(to_tensor(array))
        return request

    def answer(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Outputs:
        """Returns the outputs. Raises ContractBroken unless they are finite and as the metadata promise."""
        try:
            answer = self.ask(wire.PREDICT, self.request(signature, inputs))
        except grpc.RpcError as error:
            raise ContractBroken(f"{signature} refused a valid request: {describe(error)}") from error
        outputs = {name: from_tensor(tensor, name) for name, tensor in answer.outputs.items()}
        promised = self.signature(signature).outputs
        if outputs.keys() != promised.keys():
            raise ContractBroken(f"{signature} answered {sorted(outputs)}; its metadata promise {sorted(promised)}.")
        rows = len(next(iter(inputs.values())))
        for name, array in outputs.items():
            dtype, shape = promised[name]
            fits = shape is None or (
                len(shape) == array.ndim
                and all(size in (None, actual) for size, actual in zip(shape[1:], array.shape[1:], strict=True))
            )
            if array.dtype != dtype or not fits or array.shape[:1] != (rows,):
                raise ContractBroken(
                    f"{signature}: {name} is {array.dtype} {list(array.shape)} for {rows} rows; "
                    f"expected {dtype} {shape}."
                )
            if not np.isfinite(array).all():
                raise ContractBroken(f"{signature}: {name} is not finite.")
        return outputs

    def refuses(self, what: str, code: grpc.StatusCode, request: Any, *, method: str = wire.PREDICT) -> None:
        """Raises ContractBroken unless the server refuses the request with that code and a reason."""
        try:
            self.ask(method, request)
        except grpc.RpcError as error:
            if error.code() is not code:
                raise ContractBroken(f"{what}: expected {code.name}, got {describe(error)}") from error
            if not (error.details() or "").strip():
                raise ContractBroken(f"{what}: refused with {code.name}, but without a reason.") from error
        else:
            raise ContractBroken(f"{what}: expected {code.name}, got an answer.")


def describe(error: grpc.RpcError) -> str:
    """Describes a refusal in one line."""
    return f"{error.code().name}: {' '.join((error.details() or 'no details').split())}"


def require_same(first: np.ndarray, second: np.ndarray, what: str) -> None:
    """Raises ContractBroken unless the two are equal to float32's rounding over a model's steps."""
    allowed = 1e-5 * max(1.0, float(np.abs(first).max()))
    difference = float(np.abs(first.astype(np.float64) - second).max()) if first.shape == second.shape else np.inf
    if not difference <= allowed:
        raise ContractBroken(f"{what}: they differ by up to {difference:.3g}; allowed is {allowed:.3g}.")
