"""The options of what is trained and of what a model must reach, which a local run and a compiled pipeline share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_OPTIONS = (
    click.option("--steps", envvar="STEPS", type=int, help="Training steps.  [default: the task's]"),
    click.option(
        "--train-examples",
        envvar="TRAIN_EXAMPLES",
        type=int,
        help="Training images that are made, of a task that composes them of digits.  [default: the task's]",
    ),
    click.option(
        "--max-nll-bound",
        envvar="MAX_NLL_BOUND",
        type=float,
        help="The greatest bound, in nats an image, of a model that may be pushed.  [default: the task's]",
    ),
    click.option(
        "--max-error",
        envvar="MAX_ERROR",
        type=float,
        help="The greatest error, from 0 to 1, of a classifier that may be pushed.  [default: the task's]",
    ),
    click.option(
        "--score-samples",
        envvar="SCORE_SAMPLES",
        type=int,
        help="Score each image of the test split with so many samples, as a last stage.  [default: no such stage]",
    ),
)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `command` all of them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
