"""`draw status`: the versions of a model on a server, and their signatures."""

from __future__ import annotations

import click

from serving.cli.command_line import draw_command
from serving.cli.server_options import asks_a_server
from serving.client import Client, TensorSpec

_NOT_AVAILABLE = 3


@draw_command()
@asks_a_server
def status(client: Client) -> None:
    """Show the versions of a model that a server has, and the signatures of the one that answers.

    Exits with 3 if no version is available.
    """
    versions = client.status()
    for version in versions:
        click.echo(f"{client.model}  version {version.version}  {version.state}  {version.error}".rstrip())
    if not any(version.state == "AVAILABLE" for version in versions):
        raise SystemExit(_NOT_AVAILABLE)
    for name, signature in client.metadata().signatures.items():
        inputs, outputs = (
            ", ".join(f"{key} {_spec(spec)}" for key, spec in specs.items())
            for specs in (signature.inputs, signature.outputs)
        )
        click.echo(f"  {name}: {inputs} -> {outputs}")


def _spec(spec: TensorSpec) -> str:
    kind = "?" if spec.dtype is None else "bytes" if spec.dtype == object else str(spec.dtype)
    if spec.shape is None:
        return kind
    return f"{kind} [{', '.join('n' if size is None else str(size) for size in spec.shape)}]"
