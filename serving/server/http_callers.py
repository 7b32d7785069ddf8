"""Which HTTP requests to answer: by the host that they name, the page that sent them, and the type of their body.

A browser sends requests on behalf of any page that its user opens, to servers that only its user can reach. A page of
another origin may send a POST but not read the answer; one whose name was made to lead here (DNS rebinding) may read
everything, but its requests say that name.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".svc")
"""Names that nobody can register, as clusters and home networks give them to their own."""


class HttpCallers:
    """Refuses requests to a host that is not this server, and calls by pages of another origin.

    Unless the hosts are listed, those are: any IP address, for no page has come from there but this server's own;
    `localhost` and this machine's name; and where the server listens on other addresses than the loopback's, names of
    one label and names that end as no public name does, which are what containers and clusters call a service.
    """

    def __init__(self, *, host: str, allowed_hosts: Sequence[str], any_origin: bool) -> None:
        """`allowed_hosts` are names, `*.example.com` for all below one, or `*` for any; `any_origin` is CORS."""
        self._allowed = [name.lower().rstrip(".") for name in allowed_hosts]
        self._own = {"localhost", host.lower(), socket.gethostname().lower()}
        self._on_loopback = host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
        self._any_origin = any_origin

    def expect_own_host(self, headers: Headers, http_version: str) -> None:
        """Raises HTTPException with 400 where the request names no host, or 421 where it names another's."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not hosts[0]:
            # HTTP/1.0 knows no such header, and a browser does not speak it.
            if hosts or http_version != "1.0":
                raise HTTPException(400, f"The request has {len(hosts)} headers Host; send one.")
        elif not self._is_own(hosts[0]):
            raise HTTPException(
                421, f"This server is not {hosts[0][:200]!r}: name it by its address, or start it with --allowed_hosts."
            )

    def expect_call(self, headers: Headers) -> None:
        """Raises HTTPException with 403 where a page of another origin calls, or 415 where the body is not JSON."""
        if self._any_origin:
            return
        origin = headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != headers.get("host", "").lower():
            raise HTTPException(
                403, f"A page of {origin[:200]!r} may not call this server; --rest_api_enable_cors_support lets any."
            )
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        # `curl --data` says the last, and a page of another origin that does was refused above.
        if kind not in ("", "application/json") and (kind != "application/x-www-form-urlencoded" or origin):
            raise HTTPException(415, f"The body is said to be {kind[:100]!r}; send application/json.")

    def _is_own(self, host: str) -> bool:
        name = host.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        name = name.rstrip(".")
        if self._allowed:
            return any(
                allowed in ("*", name) or (allowed.startswith("*.") and name.endswith(allowed[1:]))
                for allowed in self._allowed
            )
        if name in self._own or _is_address(name):
            return True
        return not self._on_loopback and ("." not in name or name.endswith(_PRIVATE_SUFFIXES))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
