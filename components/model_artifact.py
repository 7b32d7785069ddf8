"""What the stages behind the Trainer take from its Model artifact."""

from __future__ import annotations

from tfx import types
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.declared_component import Artifacts, Properties
from serving.saved_model import require_task

PLACEHOLDER = "{task}"
"""Stands for the name of the model's task in an address."""

SPLIT_KEY = "split"
"""Execution property: the split that a stage asks the model about; none for the test split of the model's task."""


def saved_model_dir(model: types.Artifact) -> str:
    """Returns the folder of the SavedModel in a Model artifact."""
    return path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))


def model_and_split(input_dict: Artifacts, exec_properties: Properties) -> tuple[types.Artifact, str, str]:
    """Returns the input `model`, the folder of its SavedModel, and the name of the split to ask it about."""
    model = artifact_utils.get_single_instance(input_dict["model"])
    model_dir = saved_model_dir(model)
    return model, model_dir, exec_properties.get(SPLIT_KEY) or require_task(model_dir).test_split


def address_for(address: str, model_dir: str) -> str:
    """Replaces `{task}` in an address by the name of the task of the SavedModel in `model_dir`."""
    # Not format(): any other brace is a part of the path.
    return address.replace(PLACEHOLDER, require_task(model_dir).name) if PLACEHOLDER in address else address
