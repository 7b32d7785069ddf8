"""Runs all checks of a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import grpc

from serving.client import ServingError
from serving.contract import answer_checks, refusal_checks
from serving.contract.tested_server import ContractBroken, Server, describe

CHECKS = (*answer_checks.CHECKS, *refusal_checks.CHECKS)


class Finding(NamedTuple):
    """The result of one check."""

    check: str
    """What must hold, in words."""
    fault: str
    """What is wrong; empty if the check passed."""


def check_server(server: Server) -> Iterator[Finding]:
    """Yields the finding of each check as soon as it is made."""
    for check in CHECKS:
        fault = ""
        try:
            check(server)
        except (ContractBroken, ServingError) as broken:
            fault = str(broken)
        except grpc.RpcError as error:
            fault = f"A valid request was refused: {describe(error)}"
        yield Finding(check.__name__.replace("_", " "), fault)
