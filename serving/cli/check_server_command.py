"""`draw check-server`: whether a running server keeps to the contract."""

from __future__ import annotations

import click

from serving.cli.command_line import draw_command
from serving.cli.server_options import asks_a_server
from serving.client import Client
from serving.contract.all_checks import check_server as findings
from serving.contract.tested_server import Server

_BROKEN = 3


@draw_command("check-server")
@asks_a_server
def check_server(client: Client) -> None:
    """Check that a server keeps to the contract: answers, determinism, refusals, TF Serving's error codes.

    For TF Serving itself and for `draw serve`. Exits with 3 if one of the checks fails.
    """
    broken = 0
    for finding in findings(Server(client)):
        click.echo(f"{'FAILED' if finding.fault else 'ok':<8}{finding.check}")
        if finding.fault:
            click.echo(f"        {finding.fault}")
            broken += 1
    click.echo(
        f"{client.model} of {client.server}: " + (f"{broken} checks failed." if broken else "all checks passed.")
    )
    if broken:
        raise SystemExit(_BROKEN)
