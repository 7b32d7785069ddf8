"""Checks of what a server must refuse, and that it answers as before afterwards."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np

from serving.client import wire
from serving.contract.answer_checks import signatures, valid_inputs
from serving.contract.tested_server import ContractBroken, Server, describe, require_same

_INVALID = grpc.StatusCode.INVALID_ARGUMENT
_NOT_FOUND = grpc.StatusCode.NOT_FOUND
_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION

_NO_VERSION = 987_654_321
_BIG = 5 * 2**20
"""Bytes of a message that is larger than gRPC's own limit."""


def a_model_that_is_not_there_is_not_found(server: Server) -> None:
    """Checks names and versions, in each of the three methods."""
    for what, spec in {
        "an unknown model": wire.ModelSpec(name="no-such-model"),
        "an unknown version": wire.ModelSpec(name=server.model, version={"value": _NO_VERSION}),
    }.items():
        name = _any_signature(server)
        request = server.request(name, valid_inputs(server, name, 1))
        request.model_spec.CopyFrom(spec)
        request.model_spec.signature_name = name
        server.refuses(f"Predict of {what}", _NOT_FOUND, request)
        status = wire.GetModelStatusRequest(model_spec=spec)
        server.refuses(f"GetModelStatus of {what}", _NOT_FOUND, status, method=wire.GET_MODEL_STATUS)
        metadata = wire.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
        server.refuses(f"GetModelMetadata of {what}", _NOT_FOUND, metadata, method=wire.GET_MODEL_METADATA)


def a_request_for_no_model_is_invalid(server: Server) -> None:
    """Checks requests without a name, or with a label or metadata fields that do not exist."""
    name = _any_signature(server)
    request = server.request(name, valid_inputs(server, name, 1))
    request.model_spec.version_label = "no-such-label"
    server.refuses("an unknown label", _INVALID, request)
    request.ClearField("model_spec")
    server.refuses("a request without a model", _INVALID, request)
    for fields in ([], ["no_such_field"]):
        metadata = wire.GetModelMetadataRequest(model_spec=wire.ModelSpec(name=server.model), metadata_field=fields)
        server.refuses(f"the metadata fields {fields}", _INVALID, metadata, method=wire.GET_MODEL_METADATA)


def an_unknown_signature_is_a_failed_precondition(server: Server) -> None:
    """Checks for TF Serving's own choice of code."""
    name = _any_signature(server)
    server.refuses("an unknown signature", _PRECONDITION, server.request("no-such", valid_inputs(server, name, 1)))


def names_that_are_not_the_signatures_are_invalid(server: Server) -> None:
    """Checks a missing input, one too many, another name, and an unknown output."""
    for name in signatures(server):
        inputs = valid_inputs(server, name, 2)
        first = next(iter(inputs))
        rest = {key: value for key, value in inputs.items() if key != first}
        server.refuses(f"{name} without {first}", _INVALID, server.request(name, rest))
        server.refuses(
            f"{name} with an input too many", _INVALID, server.request(name, {**inputs, "extra": inputs[first]})
        )
        server.refuses(
            f"{name} with {first} under another name", _INVALID, server.request(name, {**rest, "other": inputs[first]})
        )
        request = server.request(name, inputs)
        request.output_filter.append("no-such-output")
        server.refuses(f"{name} asked for an unknown output", _INVALID, request)


def bad_arrays_are_invalid(server: Server) -> None:
    """Checks wrong dtypes, ranks, sizes and rows, and no rows at all."""
    for name in signatures(server):
        inputs = valid_inputs(server, name, 2)
        for key, array in inputs.items():
            bad = {
                "as float64": array.astype(np.float64),
                "as int32": array.astype(np.int32),
                "as strings": np.full(array.shape, b"1", object),
                "with a rank too low": array[0],
                "with a rank too high": array[None],
                "as a scalar": array.ravel()[0].reshape(()),
                "with another last size": np.concatenate([array, array], axis=-1),
                "of no rows": array[:0],
            }
            for what, value in bad.items():
                changed = {**inputs, key: value}
                if what == "of no rows":
                    changed = {other: rows[:0] for other, rows in inputs.items()}
                server.refuses(f"{name}: {key} {what}", _INVALID, server.request(name, changed))
            if len(inputs) > 1:
                server.refuses(
                    f"{name}: a row of {key} too few", _INVALID, server.request(name, {**inputs, key: array[:1]})
                )


def pixels_out_of_range_are_invalid(server: Server) -> None:
    """Checks values below 0, above 1, infinite and not a number, in one pixel of one row."""
    for name in signatures(server):
        inputs = valid_inputs(server, name, 2)
        if "image" not in inputs:
            continue
        for value in (-0.5, 1.5, 255.0, np.inf, -np.inf, np.nan):
            image = inputs["image"].copy()
            image[1, -1, 0, 0] = value
            server.refuses(f"{name}: a pixel of {value}", _INVALID, server.request(name, {**inputs, "image": image}))


def latents_out_of_range_are_invalid(server: Server) -> None:
    """Checks latent variables and noise that are infinite, not a number, or far from any standard normal."""
    for name in signatures(server):
        inputs = valid_inputs(server, name, 2)
        for key in inputs.keys() & {"z", "eps"}:
            for value in (np.nan, np.inf, -np.inf, 3e38):
                latents = inputs[key].copy()
                latents[1, -1, 0] = value
                request = server.request(name, {**inputs, key: latents})
                server.refuses(f"{name}: a number of {key} that is {value}", _INVALID, request)


def malformed_tensors_are_invalid(server: Server) -> None:
    """Checks content that does not fill the shape, impossible sizes, no dtype, and bytes that are no examples."""
    for name in signatures(server):
        for key in valid_inputs(server, name, 2):
            for what, spoil in _SPOILS.items():
                request = server.request(name, valid_inputs(server, name, 2))
                spoil(request.inputs[key])
                server.refuses(f"{name}: {key} with {what}", _INVALID, request)
    for name in ("score_examples", "classify_examples"):
        if name in server.metadata.signatures:
            (key,) = server.signature(name).inputs
            for what, examples in {"bytes that are none": [b"\xff\x00no example"], "no examples": []}.items():
                array = np.array(examples, object)
                server.refuses(f"{name} of {what}", _INVALID, server.request(name, {key: array}))


def a_message_of_5_mb_arrives(server: Server) -> None:
    """Checks that it is refused for what it holds, not for its size."""
    name = _any_signature(server)
    inputs = valid_inputs(server, name, 1)
    key = next(iter(inputs))
    large = np.zeros((1, _BIG // inputs[key].itemsize), inputs[key].dtype)
    server.refuses(f"{name}: {key} of 5 MB", _INVALID, server.request(name, {**inputs, key: large}))


def the_server_answers_as_before(server: Server) -> None:
    """Checks an answer before and after many refusals."""
    name = _any_signature(server)
    inputs = valid_inputs(server, name, 2)
    before = server.answer(name, inputs)
    bad_arrays_are_invalid(server)
    for key, array in server.answer(name, inputs).items():
        require_same(before[key], array, f"{name}: {key} before and after refusals")
    try:
        status = server.ask(
            wire.GET_MODEL_STATUS,
            wire.GetModelStatusRequest(model_spec=wire.ModelSpec(name=server.model)),
        )
    except grpc.RpcError as error:
        raise ContractBroken(f"GetModelStatus was refused: {describe(error)}") from error
    if 30 not in [version.state for version in status.model_version_status]:
        raise ContractBroken(f"No version is AVAILABLE: {status}")


CHECKS = (
    a_model_that_is_not_there_is_not_found,
    a_request_for_no_model_is_invalid,
    an_unknown_signature_is_a_failed_precondition,
    names_that_are_not_the_signatures_are_invalid,
    bad_arrays_are_invalid,
    pixels_out_of_range_are_invalid,
    latents_out_of_range_are_invalid,
    malformed_tensors_are_invalid,
    a_message_of_5_mb_arrives,
    the_server_answers_as_before,
)


def _any_signature(server: Server) -> str:
    return signatures(server)[0]


def _cut(tensor: Any) -> None:
    tensor.tensor_content = tensor.tensor_content[:-3]


def _negative(tensor: Any) -> None:
    tensor.tensor_shape.dim[0].size = -2


def _huge(tensor: Any) -> None:
    # Their product does not fit into 64 bits.
    for dim in tensor.tensor_shape.dim:
        dim.size = 2**40


def _no_dtype(tensor: Any) -> None:
    tensor.dtype = 0


_SPOILS = {
    "less content than its shape": _cut,
    "a negative size": _negative,
    "a size beyond all bounds": _huge,
    "no dtype": _no_dtype,
}
