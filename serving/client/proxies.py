"""Which proxy of the environment, if any, a connection to a server takes."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import NamedTuple

from serving.client.address import Address

_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
"""As gRPC reads them: the first that is set counts, though it be empty, TLS or not."""
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy", "NO_PROXY")
"""gRPC itself reads one of the first two alone, and none in capitals, as other programs do."""


class Proxy(NamedTuple):
    """A proxy that gRPC goes through."""

    variable: str
    url: str
    """Without the password."""

    def __str__(self) -> str:
        return f"the proxy {self.url} of {self.variable}"


def proxy_for(address: Address) -> Proxy | None:
    """Returns the proxy of the environment for a server; None for this host's own, and where NO_PROXY names it.

    Each of no_grpc_proxy, no_proxy and NO_PROXY counts: commas between names with all below them, IP addresses,
    networks such as 10.0.0.0/8, each perhaps with a port, and * for all.
    """
    variable = next((name for name in _PROXIES if name in os.environ), None)
    if variable is None or address.host is None or _is_this_host(address.host):
        return None
    if not os.environ[variable].startswith("http://"):  # gRPC speaks to no other proxy, and goes without
        return None
    exceptions = ",".join(os.environ.get(name, "") for name in _EXCEPTIONS)
    if any(_matches(name.strip(), address) for name in exceptions.split(",")):
        return None
    return Proxy(variable, re.sub(r"(?<=//).*@", "", os.environ[variable]))


def _is_this_host(host: str) -> bool:
    host = host.lower().rstrip(".")
    ip = _ip(host)
    return ip.is_loopback or ip.is_unspecified if ip else host == "localhost" or host.endswith(".localhost")


def _matches(name: str, address: Address) -> bool:
    """Whether an entry of NO_PROXY names the address."""
    assert address.host is not None
    host = address.host.lower().rstrip(".")
    name = name.lower().rstrip(".")
    port = re.fullmatch(r"(\[.*\]|[^:]*):([0-9]+)", name)
    if port:
        name = port[1]
        if int(port[2]) != address.port:
            return False
    name = name.strip("[]")
    if name in ("", "*"):
        return name == "*"
    ip = _ip(host)
    if ip is None:
        name = name.removeprefix("*").lstrip(".")
        return host == name or host.endswith(f".{name}")
    try:
        return ip in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip
