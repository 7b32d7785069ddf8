"""Reads the task that every exported model carries, so that the stages behind the Trainer need no other source."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx import types
from tfx.dsl.io import fileio
from tfx.utils import path_utils

TASK_FILE = os.path.join("assets", "task.json")

PLACEHOLDER = "{task}"
"""Stands for the name of the model's task in an address."""


def saved_model_dir(model: types.Artifact) -> str:
    """Returns the folder of the SavedModel in a Model artifact."""
    return path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))


def read(model_dir: str) -> dict[str, Any] | None:
    """Reads the task of the SavedModel in `model_dir`; None if it has none.

    Returns plain JSON, not a Task: a baseline may come from an earlier version whose Task had other fields.
    """
    path = os.path.join(model_dir, TASK_FILE)
    if not fileio.exists(path):
        return None
    with fileio.open(path) as file:
        return json.loads(file.read())


def require(model_dir: str) -> dict[str, Any]:
    """Reads the task as `read` does, but raises FileNotFoundError if there is none."""
    task = read(model_dir)
    if task is None:
        raise FileNotFoundError(
            f"The SavedModel {model_dir} has no {TASK_FILE}, so its task is unknown. Export it with its task as an "
            "asset."
        )
    return task


def judging_split(model_dir: str) -> str:
    """Names the split that decides whether the model is good enough."""
    return str(require(model_dir)["data"]["test"])


def address_for(address: str, model_dir: str) -> str:
    """Replaces `{task}` in an address by the name of the model's task."""
    # Not format(): any other brace is a part of the path.
    return address.replace(PLACEHOLDER, require(model_dir)["name"]) if PLACEHOLDER in address else address
