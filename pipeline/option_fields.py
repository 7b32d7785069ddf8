"""Command-line options declared once: a field of a frozen dataclass is the option, its variable and its default."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from serving.cli.number_options import Real
from serving.cli.place_options import LocalName, local


@dataclasses.dataclass(frozen=True)
class Option:
    """Annotates a field, `Annotated[int | None, Option("Steps.")] = None`, which is then the option of its name."""

    help: str
    """Its line in `--help`, with the meaning of None; any other default is shown by itself."""
    range: tuple[float, float] | None = None
    """The least and the greatest value; every number has one."""
    flag: str | None = None
    """In place of `--field-name`, such as `--on/--off`. The environment variable follows from it: `FIELD_NAME`."""
    has_variable: bool = True
    """Whether the option can be given as an environment variable; a field that is a tuple takes words, with spaces
    between."""
    metavar: str | None = None
    """What the help shows in place of the value; None for its type."""
    is_place: bool = False
    """Whether the text is a name or a path of this machine, and never an address."""


def settings_options(settings_class: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of a settings class, and an instance of it as an argument.

    The instance comes after click's context, where there is one, and before the command's own options. A ValueError
    from its constructor ends the command with that message and status 1.
    """
    options = [_click_option(settings_class, field) for field in dataclasses.fields(settings_class)]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_settings(*context: click.Context, **values: Any) -> None:
            chosen = {field.name: values.pop(field.name) for field in dataclasses.fields(settings_class)}
            try:
                settings = settings_class(**chosen)
            except ValueError as error:
                raise click.ClickException(str(error)) from error
            command(*context, settings, **values)

        for option in reversed(options):
            with_settings = option(with_settings)
        return with_settings

    return decorate


def absolute_path(text: str | Path) -> Path:
    """Makes a path absolute: TFX stores it, and may be started from another folder next time.

    Raises ValueError for an address such as gs://bucket.
    """
    return Path(local(str(text))).expanduser().resolve()


def _click_option(settings_class: type[Any], field: dataclasses.Field[Any]) -> Callable[..., Any]:
    annotated, declared = typing.get_args(typing.get_type_hints(settings_class, include_extras=True)[field.name])
    (kind,) = set(typing.get_args(annotated) or (annotated,)) - {type(None), Ellipsis}
    is_repeated = typing.get_origin(annotated) is tuple
    flag = declared.flag or f"--{field.name.replace('_', '-')}"
    return click.option(
        flag,
        field.name,
        type=_click_type(kind, declared),
        multiple=is_repeated,
        metavar=declared.metavar or ("PATH" if kind is Path else None),
        help=declared.help,
        default=field.default,
        show_default=field.default is not None and not is_repeated,
        show_envvar=declared.has_variable,
        envvar=flag.removeprefix("--").replace("-", "_").upper() if declared.has_variable else None,
    )


def _click_type(kind: type[Any], declared: Option) -> Any:
    if kind is Path:
        return _AbsolutePath()
    if declared.is_place:
        return LocalName()
    if kind not in (int, float):
        return kind
    if declared.range is None:
        raise TypeError(f"The number {declared.help!r} has no range.")
    least, greatest = declared.range
    return click.IntRange(int(least), int(greatest)) if kind is int else Real(least, greatest)


class _AbsolutePath(click.ParamType):
    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Fails for an address."""
        try:
            return absolute_path(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
