"""A server's address, checked before anything is sent to it."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from typing import NamedTuple

_TARGET_SCHEMES = ("dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds")
"""gRPC's own: a name that it resolves itself, several addresses, or a socket that is no host's."""
_HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^\[\]:/@\s]+)):(?P<port>[0-9]+)")
_EXPECTED = "expected HOST:PORT of its gRPC, such as"


class Address(NamedTuple):
    """Where a server answers."""

    target: str
    """gRPC's name for it."""
    host: str | None
    """Name or IP address; None where gRPC's target names none."""
    port: int | None


def parse(server: str) -> Address:
    """Reads HOST:PORT, with brackets around an IPv6 address, or one of gRPC's targets, such as dns:///HOST:PORT.

    Raises ValueError for anything else; the message gives what was probably meant.
    """
    scheme, colon, rest = server.partition(":")
    if colon and scheme in _TARGET_SCHEMES and not rest.isdigit():
        return _from_target(server, scheme, rest)
    if "://" in server:
        raise _is_a_url(server)
    if _is_ipv6(server.strip("[]")):
        raise ValueError(f"The server {server!r} has no port: {_EXPECTED} [{server.strip('[]')}]:8500.")
    match = _HOST_AND_PORT.fullmatch(server)
    if match is None:
        host, _, port = server.rpartition(":")
        if port.isdigit() and _is_ipv6(host):
            raise ValueError(f"The server {server!r} has an IPv6 address without brackets: expected [{host}]:{port}.")
        if re.fullmatch(r"[^:/@\s]+", server):
            raise ValueError(f"The server {server!r} has no port: {_EXPECTED} {server}:8500.")
        raise ValueError(f"The server {server!r} is no address: {_EXPECTED} 127.0.0.1:8500 or [::1]:8500.")
    if match["ipv6"] and not _is_ipv6(match["ipv6"]):
        raise ValueError(f"The server {server!r} has no IPv6 address in its brackets: {_EXPECTED} [::1]:8500.")
    if not 0 < int(match["port"]) < 2**16:
        raise ValueError(f"The server {server!r} has the port {match['port']}; expected one from 1 to 65535.")
    return Address(server, match["ipv6"] or match["host"], int(match["port"]))


def _is_a_url(server: str) -> ValueError:
    try:
        url = urllib.parse.urlsplit(server)
        host, port = url.hostname or "127.0.0.1", None if url.scheme in ("http", "https") else url.port
    except ValueError:
        return ValueError(f"The server {server!r} is a broken URL; {_EXPECTED} 127.0.0.1:8500.")
    meant = f"[{host}]:{port or 8500}" if ":" in host else f"{host}:{port or 8500}"
    tls = " and --tls" if url.scheme == "https" else ""
    return ValueError(
        f"The server {server!r} is a URL, as REST has them; {_EXPECTED} {meant}{tls}. "
        "8500 is the usual port of gRPC, 8501 that of REST."
    )


def _from_target(target: str, scheme: str, rest: str) -> Address:
    """Reads the host of a target that has one; of several addresses the first."""
    if scheme not in ("dns", "ipv4", "ipv6"):
        return Address(target, None, None)
    first = rest.rpartition("/")[2].partition(",")[0]
    match = _HOST_AND_PORT.fullmatch(first)
    if match is None:
        return Address(target, first.strip("[]"), None)
    return Address(target, match["ipv6"] or match["host"], int(match["port"]))


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
