"""What the stages behind the Trainer take from its Model artifact."""

from __future__ import annotations

from tfx import types
from tfx.utils import path_utils

from serving.saved_model import require_task

PLACEHOLDER = "{task}"
"""Stands for the name of the model's task in an address."""


def saved_model_dir(model: types.Artifact) -> str:
    """Returns the folder of the SavedModel in a Model artifact."""
    return path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))


def address_for(address: str, model_dir: str) -> str:
    """Replaces `{task}` in an address by the name of the task of the SavedModel in `model_dir`."""
    # Not format(): any other brace is a part of the path.
    return address.replace(PLACEHOLDER, require_task(model_dir).name) if PLACEHOLDER in address else address
