"""The gRPC channel to a server: its limits and its security."""

from __future__ import annotations

import dataclasses

import grpc

from serving.client.address import Address
from serving.client.proxies import Proxy

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


def open_channel(address: Address, *, proxy: Proxy | None, tls: Tls | None, max_message_bytes: int) -> grpc.Channel:
    """Opens a channel, which connects at the first call; to the server itself where there is no `proxy`."""
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # gRPC waits a second, then two, before it reconnects, and until then fails every attempt without trying.
        # Its min_reconnect_backoff_ms stays: that is the time that a connection may take, over TLS and proxies too.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # The caller decides about retries.
        ("grpc.enable_retries", 0),
        # The environment's proxy is gRPC's to use where `proxies` says so, which knows more exceptions.
        ("grpc.enable_http_proxy", int(proxy is not None)),
        # Only what is not compressed: gRPC unpacks a message whole, before it looks at the limit.
        ("grpc.compression_enabled_algorithms_bitset", 1),
    ]
    if tls is None:
        return grpc.insecure_channel(address.target, options)
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(tls.root_certificates, tls.client_key, tls.client_certificate)
    return grpc.secure_channel(address.target, credentials, options)
