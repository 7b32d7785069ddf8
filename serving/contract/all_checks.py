"""All checks of a server, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import grpc

from serving.client import ServingError
from serving.contract import answer_checks, refusal_checks
from serving.contract.tested_server import ContractBroken, Server, said

CHECKS = (*answer_checks.CHECKS, *refusal_checks.CHECKS)


class Finding(NamedTuple):
    """What a check found."""

    check: str
    """What should be so, in words."""
    fault: str
    """What is so instead; empty where nothing is wrong."""


def check_server(server: Server) -> Iterator[Finding]:
    """Yields the finding of each check as it is made."""
    for check in CHECKS:
        fault = ""
        try:
            check(server)
        except (ContractBroken, ServingError) as broken:
            fault = str(broken)
        except grpc.RpcError as error:
            fault = f"A valid request was refused: {said(error)}"
        yield Finding(check.__name__.replace("_", " "), fault)
