"""The error that ends a request: a status code of gRPC, and the reason that the caller gets."""

from __future__ import annotations

import logging
import re

import grpc
import tensorflow as tf

_log = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}

_AROUND = ("Graph execution error", "Detected at", 'File "', "<stack traces unavailable>", "2 root error(s) found")
_NUMBERED = re.compile(r"\(\d+\) [A-Z_]+: ")


_MAX_BYTES = 1024
"""Of a message: gRPC sends it in a header, and a caller refuses long ones, with an error about headers."""


class StatusError(Exception):
    """Ends one request, or the load of one version, with a code of gRPC and a message of at most 1 kB."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        # It may quote what a caller sent, which may be megabytes, or half of a pair of surrogates.
        encoded = message[:_MAX_BYTES].encode("utf-8", "backslashreplace")
        if len(encoded) > _MAX_BYTES or len(message) > _MAX_BYTES:
            encoded = encoded[: _MAX_BYTES - 4] + b" ..."
        self.code = code
        self.message = encoded.decode("utf-8", "ignore")
        super().__init__(self.message)


def invalid(message: str) -> StatusError:
    """Makes an INVALID_ARGUMENT error: the caller must change the request."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def report(error: Exception, what: str) -> tuple[grpc.StatusCode, str]:
    """Returns the code and the message for a caller, and writes into the log what was no caller's fault.

    Not the error itself, for one that its own traceback leads to keeps the request in memory.
    """
    if isinstance(error, StatusError):
        return error.code, error.message
    refusal = from_exception(error)
    if refusal.code == grpc.StatusCode.INTERNAL:
        _log.error("%s failed", what, exc_info=error)
    return refusal.code, refusal.message


def from_exception(error: Exception) -> StatusError:
    """Makes any exception a StatusError, with TensorFlow's own code where it has one, and else INTERNAL."""
    if isinstance(error, StatusError):
        return error
    if isinstance(error, tf.errors.OpError):
        return StatusError(_CODES.get(error.error_code, grpc.StatusCode.INTERNAL), _reason(str(error.message)))
    if isinstance(error, UnicodeDecodeError):
        # TensorFlow refused bytes that are no text, and its binding failed to make a message that quotes them.
        return invalid(_reason(error.object.decode("utf-8", "replace")))
    return StatusError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")


def _reason(message: str) -> str:
    """Strips the stack of the exporter's program and the names of nodes from TensorFlow's message."""
    lines = [re.sub(r"\s*\[\[?\{\{node.*", "", line).strip() for line in message.splitlines()]
    lines = [line for line in lines if line and not line.startswith(_AROUND)]
    failed = [line.partition("assertion failed:")[2].strip() for line in lines if "assertion failed:" in line]
    if failed:
        # The message of the assertion, which TensorFlow puts in brackets with the values that it prints.
        return failed[0].removeprefix("[").removesuffix("]")
    return _NUMBERED.sub("", lines[0]) if lines else message.strip()
