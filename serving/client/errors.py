"""Errors between a client and a server, each with what to do about it."""

from __future__ import annotations

import grpc


class ServingError(Exception):
    """A request got no answer. `code` is gRPC's, or None if the client itself found the fault."""

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.code = code


class ServerUnavailable(ServingError):
    """No server answers at the address, or it takes no request now, after all retries."""


class ModelNotFound(ServingError):
    """The server has no such model, or no such version of it."""


class BadInput(ServingError):
    """The server, or the client itself, refuses the request; the message says why."""


class SignatureNotFound(BadInput):
    """The model has no such signature: a classifier draws no samples."""


class DeadlineExceeded(ServingError):
    """There was no answer in time."""


class ServerOverloaded(ServingError):
    """The server's queue is full."""


class MessageTooLarge(ServingError):
    """A request or an answer exceeds the limit of one of the two sides."""


class AccessDenied(ServingError):
    """The server did not get the credentials that it requires."""


class ServerFailed(ServingError):
    """The server failed with an internal error."""


class UnexpectedAnswer(ServingError):
    """The answer is not what the signature promises."""


def from_rpc(error: grpc.RpcError, *, server: str, model: str, timeout_seconds: float, attempts: int) -> ServingError:
    """Makes the error that says what happened and what to do.

    Args:
      error: gRPC's error.
      server: the server's address.
      model: the model, and its version or label, in words.
      timeout_seconds: the time that the call had.
      attempts: how often the request was sent.
    """
    # Each message below ends the sentence itself.
    code, details = error.code(), " ".join((error.details() or "no details").split()).rstrip(".")
    status = grpc.StatusCode
    if code is status.UNAVAILABLE:
        kind: type[ServingError] = ServerUnavailable
        message = (
            f"No answer from {server}, asked {attempts} times: {details}. Check that a server runs there, and whether "
            "it wants TLS."
        )
    elif code is status.NOT_FOUND:
        kind, message = ModelNotFound, f"{server} does not serve {model}: {details}. Check its name and version."
    elif code is status.INVALID_ARGUMENT:
        kind, message = BadInput, f"{server} refuses the request: {details}"
    elif code is status.FAILED_PRECONDITION:
        kind = SignatureNotFound
        message = f"{server} cannot do this with {model}: {details}. Its metadata list the signatures that it has."
    elif code is status.DEADLINE_EXCEEDED:
        kind = DeadlineExceeded
        message = f"{server} did not answer within {timeout_seconds:g} s. Ask for fewer rows, or give it more time."
    elif code is status.RESOURCE_EXHAUSTED and "larger than max" in details:
        kind = MessageTooLarge
        message = f"A message to or from {server} is too large: {details}. Send smaller chunks, or raise its limit."
    elif code is status.RESOURCE_EXHAUSTED:
        kind = ServerOverloaded
        message = f"{server} has more to do than it can: {details}. Ask again later, or with fewer chunks in flight."
    elif code in (status.UNAUTHENTICATED, status.PERMISSION_DENIED):
        kind, message = AccessDenied, f"{server} refuses access: {details}. Check the credentials and the metadata."
    else:
        kind, message = ServerFailed, f"{server} failed with {code.name}: {details}. Its log says more."
    return kind(message, code)
