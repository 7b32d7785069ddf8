"""The options of all commands that ask a model, on a server or in this process, and how their errors are shown."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import click

from serving import pretrained, staged_model
from serving.cli.number_options import NATURAL, SECONDS, Real
from serving.cli.place_options import LocalPath, model_place
from serving.client import Client, ServingError, SignatureCalls, Tls
from serving.client.client import DEFAULT_SERVER
from serving.file_systems import connect
from serving.native_output import quiet_native_code

_FILE = LocalPath(exists=True, dir_okay=False, path_type=Path)

_CHANNEL_OPTIONS = ("use_tls", "tls_roots", "tls_key", "tls_certificate", "headers")
_OPTIONS = ("server", "model", "model_version", "label", "timeout_seconds", "wait_seconds", *_CHANNEL_OPTIONS)


def asks_a_model(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options: the command gets a `SignatureCalls` as its first argument, and its errors become one message.

    A model is asked in this process where --model names one that is here, unless there is a --server to ask.
    """

    def answers(server: str | None, model: str, **options: Any) -> SignatureCalls:
        directory = model_place(pretrained.resolve(model))
        if "://" in directory and server is None:
            connect([directory])
            directory = staged_model.stage(directory).directory
        if server is not None or not Path(directory).is_dir():
            return _client(server or DEFAULT_SERVER, model, **options)
        if given := [name for name in ("model_version", "label", *_CHANNEL_OPTIONS) if options[name]]:
            names = ", ".join(f"--{name.replace('_', '-').removeprefix('use-')}" for name in given)
            raise ValueError(f"{names}: for a --server alone, and {model} is asked in this process.")
        from serving.local_model import LocalModel

        return LocalModel(directory, name=model)

    return _with_options(
        command,
        answers,
        server=click.option(
            "--server", envvar="DRAW_SERVER", help=f"HOST:PORT of a server's gRPC to ask.  [default: {DEFAULT_SERVER}]"
        ),
        model_help="A pretrained model (see `draw models`) or a SavedModel's folder, which need no server; or the "
        "model's name on the server.",
    )


def asks_a_server(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options: the command gets the client as its first argument, and its errors become one message."""
    return _with_options(
        command,
        _client,
        server=click.option(
            "--server",
            envvar="DRAW_SERVER",
            default=DEFAULT_SERVER,
            show_default=True,
            help="HOST:PORT of the server's gRPC.",
        ),
        model_help="The model's name on the server: that of its task.",
    )


def _with_options(
    command: Callable[..., None],
    opened: Callable[..., SignatureCalls],
    *,
    server: Callable[..., Any],
    model_help: str,
) -> Callable[..., None]:
    options = [
        server,
        click.option("--model", envvar=["DRAW_MODEL", "TASK"], default="digits", show_default=True, help=model_help),
        click.option("--model-version", type=NATURAL, help="Number of the version to ask.  [default: the newest]"),
        click.option("--label", help="Label of the version to ask, such as `stable`."),
        click.option(
            "--timeout",
            "timeout_seconds",
            type=SECONDS,
            default=60.0,
            show_default=True,
            help="Seconds that the call may take, retries included.",
        ),
        click.option(
            "--wait",
            "wait_seconds",
            type=Real(0, 31_536_000),
            default=60.0,
            show_default=True,
            help="Seconds to wait, before the call, for a server that is starting; 0 does not wait.",
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
    def with_answers(**arguments: Any) -> None:
        own = {name: arguments.pop(name) for name in _OPTIONS}
        try:
            # Around the command too: a model in this process starts TensorFlow at the first call.
            with quiet_native_code() as terminal, opened(**own, terminal=terminal) as answers:
                command(answers, **arguments)
        except (ServingError, ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error

    for option in reversed(options):
        with_answers = option(with_answers)
    return with_answers


def _client(
    server: str,
    model: str,
    *,
    model_version: int | None,
    label: str | None,
    timeout_seconds: float,
    wait_seconds: float,
    use_tls: bool,
    tls_roots: Path | None,
    tls_key: Path | None,
    tls_certificate: Path | None,
    headers: tuple[str, ...],
    terminal: TextIO,
) -> Client:
    return Client(
        server,
        model=model,
        version=model_version,
        label=label,
        timeout_seconds=timeout_seconds,
        wait_seconds=wait_seconds,
        report=lambda line: click.echo(line, file=terminal),
        tls=_tls(use_tls, tls_roots, tls_key, tls_certificate),
        metadata=[_header(text) for text in headers],
    )


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
