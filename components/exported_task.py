"""The task of an exported model, which carries it, so that the stages behind the Trainer need not be told."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx.dsl.io import fileio

TASK_FILE = os.path.join("assets", "task.json")

PLACEHOLDER = "{task}"
"""In an address: the name of the model's task."""


def read(model_dir: str) -> dict[str, Any] | None:
    """The task of the SavedModel in `model_dir`; None where it has none.

    The plain JSON, not a Task: a baseline may come from a version of ours whose Task had other fields.
    """
    path = os.path.join(model_dir, TASK_FILE)
    if not fileio.exists(path):
        return None
    with fileio.open(path) as file:
        return json.loads(file.read())


def require(model_dir: str) -> dict[str, Any]:
    """As `read`; raises FileNotFoundError where the model does not say what its task is."""
    task = read(model_dir)
    if task is None:
        raise FileNotFoundError(
            f"The SavedModel {model_dir} has no {TASK_FILE}, so its task is unknown. Export it with its task as an "
            "asset."
        )
    return task


def judging_split(model_dir: str) -> str:
    """The split that decides on the model."""
    return str(require(model_dir)["data"]["test"])


def address_for(address: str, model_dir: str) -> str:
    """`address` with the name of the model's task in place of `{task}`."""
    # Not format(): any other brace is a part of the path.
    return address.replace(PLACEHOLDER, require(model_dir)["name"]) if PLACEHOLDER in address else address
