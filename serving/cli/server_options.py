"""The options of all commands that ask a model server, and how their errors are shown."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from serving.client import Client, ServingError, Tls
from serving.client.client import DEFAULT_SERVER

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def asks_a_server(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options: the command gets the client as its first argument, and its errors become one message."""
    options = [
        click.option(
            "--server",
            envvar="DRAW_SERVER",
            default=DEFAULT_SERVER,
            show_default=True,
            help="HOST:PORT of the server's gRPC.",
        ),
        click.option(
            "--model",
            envvar=["DRAW_MODEL", "TASK"],
            default="digits",
            show_default=True,
            help="The model's name on the server: that of its task.",
        ),
        click.option("--model-version", type=int, help="Number of the version to ask.  [default: the newest]"),
        click.option("--label", help="Label of the version to ask, such as `stable`."),
        click.option(
            "--timeout",
            "timeout_seconds",
            type=click.FloatRange(min=0, min_open=True),
            default=60.0,
            show_default=True,
            help="Seconds that the call may take, retries included.",
        ),
        click.option("--tls", "use_tls", is_flag=True, help="Secure the channel; the three options below imply it."),
        click.option(
            "--tls-roots", type=_FILE, help="PEM file: who may sign the server's certificate.  [default: the host's]"
        ),
        click.option("--tls-key", type=_FILE, help="PEM file: the client's key."),
        click.option("--tls-certificate", type=_FILE, help="PEM file: the client's certificate."),
        click.option(
            "--header", "headers", multiple=True, metavar="NAME=VALUE", help="gRPC metadata; may be repeated."
        ),
    ]

    @functools.wraps(command)
    def with_client(
        server: str,
        model: str,
        model_version: int | None,
        label: str | None,
        timeout_seconds: float,
        use_tls: bool,
        tls_roots: Path | None,
        tls_key: Path | None,
        tls_certificate: Path | None,
        headers: tuple[str, ...],
        **arguments: Any,
    ) -> None:
        try:
            with Client(
                server,
                model=model,
                version=model_version,
                label=label,
                timeout_seconds=timeout_seconds,
                tls=_tls(use_tls, tls_roots, tls_key, tls_certificate),
                metadata=[_header(text) for text in headers],
            ) as client:
                command(client, **arguments)
        except (ServingError, ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error

    for option in reversed(options):
        with_client = option(with_client)
    return with_client


def _tls(use: bool, roots: Path | None, key: Path | None, certificate: Path | None) -> Tls | None:
    if not (use or roots or key or certificate):
        return None
    read = {"root_certificates": roots, "client_key": key, "client_certificate": certificate}
    return Tls(**{name: path.read_bytes() if path else None for name, path in read.items()})  # type: ignore[arg-type]


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"The header {text!r} is not NAME=VALUE.")
    # gRPC takes lower-case names only.
    return name.lower(), value
