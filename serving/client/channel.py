"""The gRPC channel to a server: its limits and its security."""

from __future__ import annotations

import dataclasses

import grpc

MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""The limit of a message. gRPC's own, 4 MB, is less than the sequences of four SVHN images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tls:
    """Certificates and keys that secure the channel, all in PEM."""

    root_certificates: bytes | None = None
    """Who may sign the server's certificate; None for the host's own list."""
    client_key: bytes | None = None
    """Given with `client_certificate` to a server that authenticates its clients."""
    client_certificate: bytes | None = None
    server_name: str | None = None
    """The name in the server's certificate, if it is not that in the address."""

    def __post_init__(self) -> None:
        if (self.client_key is None) != (self.client_certificate is None):
            raise ValueError("A client's key and its certificate go together: give both, or neither.")


def open_channel(server: str, *, tls: Tls | None, max_message_bytes: int) -> grpc.Channel:
    """Opens a channel to HOST:PORT, which connects at the first call."""
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # gRPC waits a second, then two, before it reconnects, and until then fails every attempt without trying.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # The caller decides about retries.
        ("grpc.enable_retries", 0),
    ]
    if tls is None:
        return grpc.insecure_channel(server, options)
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.client_key, tls.client_certificate)
    return grpc.secure_channel(server, credentials, options)
