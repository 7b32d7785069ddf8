"""`draw score-batch`: the batch job's own command, beside which TensorFlow and Beam are quiet."""

from __future__ import annotations

import logging
from typing import Any

import click

from serving.batch.command import score_batch as command
from serving.native_output import quiet_native_code


@click.pass_context
def _quietly(ctx: click.Context, **arguments: Any) -> None:
    with quiet_native_code():
        from serving.batch import job  # noqa: F401
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    ctx.invoke(command, **arguments)


score_batch = click.Command(
    command.name,
    params=command.params,
    callback=_quietly,
    help=command.help,
    context_settings=command.context_settings,
)
