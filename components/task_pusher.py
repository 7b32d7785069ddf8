"""TaskPusher: two blessings in, a pushed model out."""

from __future__ import annotations

import hashlib
import logging
import os
import time

from tfx.components.pusher import executor as pusher
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from components.declared_component import Artifacts, DeclaredComponent, Properties
from components.evaluator import pushed_versions
from components.evaluator.gate import pushed_already
from components.evaluator.pushed_versions import PushedVersions
from components.model_artifact import address_for

_GRAPH_FILE = "saved_model.pb"
_GREATEST_VERSION = 2**63 - 1
"""TensorFlow Serving counts versions in an int64."""

_LOG = logging.getLogger(__name__)


class Executor(pusher.Executor):
    """Pushes a version that a server picks: greater than all there, complete when it appears, and once only.

    TFX's executor takes the time for a version, whatever others are there.
    """

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        """Pushes the model to `serving_dir` if both blessings allow it."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model_dir = self.GetModelPath(input_dict)
        serving_dir = address_for(exec_properties["serving_dir"], model_dir)
        pushed_versions.log_changes(input_dict.get("pushed_versions"), serving_dir)
        # By a killed Pusher, or by a run from whose cache the model comes: servers need no second version.
        destination = pushed_already(serving_dir, model_dir) or push(model_dir, serving_dir)
        io_utils.copy_dir(model_dir, pushed.uri)
        self._MarkPushed(
            pushed, pushed_destination=destination, pushed_version=os.path.basename(destination.rstrip("/"))
        )


def push(model_dir: str, serving_dir: str) -> str:
    """Copies a model into a new version of `serving_dir`, and returns the version's folder.

    Raises ValueError where no greater version is possible.
    """
    versions = _versions(serving_dir)
    version = max([int(time.time()), *(version + 1 for version in versions)])
    if version > _GREATEST_VERSION:
        raise ValueError(
            f"{serving_dir} has version {versions[-1]}, the greatest that there can be, so a server would never pick "
            "another. Rename that folder to a smaller number."
        )
    destination = os.path.join(serving_dir, str(version))
    if "://" not in serving_dir:
        # Named after the model, so that another attempt takes up what a killed one has left.
        unfinished = os.path.join(serving_dir, f".pushing-{_digest(model_dir)}")
        io_utils.copy_dir(model_dir, unfinished)
        try:
            os.rename(unfinished, destination)
            return destination
        except OSError as error:
            # Buckets that are mounted as folders can often not rename one.
            _LOG.info("%s cannot be renamed: %s", unfinished, error)
            fileio.rmtree(unfinished)
    # The graph, by which a server knows a complete model, comes last.
    io_utils.copy_dir(model_dir, destination, deny_regex_patterns=[r"saved_model\.pb"])
    io_utils.copy_file(os.path.join(model_dir, _GRAPH_FILE), os.path.join(destination, _GRAPH_FILE))
    return destination


def _versions(serving_dir: str) -> list[int]:
    """Lists the numbers of the versions, complete or not, in their order."""
    names = fileio.listdir(serving_dir) if fileio.isdir(serving_dir) else []
    return sorted(int(name) for name in (name.rstrip("/") for name in names) if name.isascii() and name.isdecimal())


def _digest(folder: str) -> str:
    """Hashes the files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(os.path.join(place, name) for place, _, names in fileio.walk(folder) for name in names):
        with fileio.open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()[:16]


class TaskPusher(
    DeclaredComponent,
    executor=Executor,
    inputs={
        "model_blessing": standard_artifacts.ModelBlessing,
        "infra_blessing": standard_artifacts.InfraBlessing,
        "pushed_versions": PushedVersions,
    },
    properties={"serving_dir": str},
    outputs={"pushed_model": standard_artifacts.PushedModel},
    defaults={"pushed_versions": None},
):
    """Pushes the model in the infra blessing, which has warm-up requests, if both blessings allow it.

    If its content is that of the latest version, that one stays, and is what `pushed_model` names.

    The destination of TFX's Pusher is a message: a user who chooses it for a run would write JSON, and the folder could
    not follow from the task.

    Args:
      model_blessing: an evaluator's.
      infra_blessing: ServingCheck's.
      pushed_versions: what was in `serving_dir` when the run began, by which a cache sees that it has changed.
      serving_dir: TF Serving's model_base_path, in which the model becomes a new version; `{task}` in it is replaced by
        the name of the model's task.

    Outputs:
      pushed_model: `standard_artifacts.PushedModel`, as TFX's Pusher writes it.
    """
