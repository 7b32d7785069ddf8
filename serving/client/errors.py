"""Errors between a client and a server, each with what to do about it."""

from __future__ import annotations

import grpc

from serving.client.proxies import Proxy


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


def from_rpc(
    error: grpc.RpcError, *, server: str, model: str, timeout_seconds: float, attempts: int, proxy: Proxy | None
) -> ServingError:
    """Makes the error that says what happened and what to do.

    Args:
      error: gRPC's error.
      server: the server's address.
      model: the model, and its version or label, in words.
      timeout_seconds: the time that the call had.
      attempts: how often the request was sent.
      proxy: what the connection goes through.
    """
    # Each message below ends the sentence itself.
    code, details = error.code(), plain(error.details() or "no details").rstrip(".")
    status = grpc.StatusCode
    if proxy is not None and code in (status.UNAVAILABLE, status.DEADLINE_EXCEEDED):
        details += f", by {proxy}, which a NO_PROXY with {server.rpartition(':')[0]} leaves out"
    if speaks_no_grpc(error):
        kind: type[ServingError] = ServerUnavailable
        message = (
            f"{server} does not speak gRPC: {details}. Check whether this is REST's port, often 8501 where gRPC's is "
            "8500, and whether it wants TLS."
        )
    elif code is status.UNAVAILABLE:
        kind = ServerUnavailable
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
        through = f" through {proxy}" if proxy is not None else ""
        message = (
            f"{server} did not answer within {timeout_seconds:g} s{through}. Ask for fewer rows, or give it more time; "
            "if it never answers, check its address."
        )
    elif code is status.RESOURCE_EXHAUSTED and not is_overload(error):
        kind = MessageTooLarge
        message = f"A message to or from {server} is too large: {details}. Send smaller chunks, or raise its limit."
    elif code is status.RESOURCE_EXHAUSTED:
        kind = ServerOverloaded
        message = f"{server} has more to do than it can: {details}. Ask again later, or with fewer chunks in flight."
    elif code in (status.UNAUTHENTICATED, status.PERMISSION_DENIED):
        kind, message = AccessDenied, f"{server} refuses access: {details}. Check the credentials and the metadata."
    elif code in (status.UNIMPLEMENTED, status.INTERNAL) and "Compression algorithm" in details:  # by gRPC's version
        kind = UnexpectedAnswer
        message = (
            f"{server} compresses its answers, and a small one can unpack to more than memory holds: {details}. "
            "Set it to send them as they are."
        )
    elif code is status.UNIMPLEMENTED:
        kind, message = ServerFailed, f"{server} is no server of models, or has not this method: {details}."
    else:
        kind, message = ServerFailed, f"{server} failed with {code.name}: {details}. Its log says more."
    return kind(message, code)


def speaks_no_grpc(error: grpc.RpcError) -> bool:
    """Whether something answers at the port that is no gRPC server, such as REST, or one that wants TLS."""
    details = error.details() or ""
    return error.code() is grpc.StatusCode.UNAVAILABLE and ("http1" in details or "Failed parsing HTTP/2" in details)


def is_overload(error: grpc.RpcError) -> bool:
    """Whether a server refuses a request because it is full."""
    details = error.details() or ""
    too_large = "larger than max" in details or "metadata size exceeds" in details
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and not too_large


def plain(text: str, *, longest: int = 1000) -> str:
    """Makes one line of a stranger's text, without what would steer a terminal, cut where it is too long."""
    line = " ".join(text[: 4 * longest].split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= longest else f"{line[:longest]}..."
