"""What a serving folder held when a run began: an input of the stages that look into it as it is later."""

from __future__ import annotations

import json
import logging
import os

from tfx.dsl.io import fileio
from tfx.types.artifact import Artifact
from tfx.utils import io_utils

from components.evaluator.gate import fingerprints

_FILE = "versions.json"

_LOG = logging.getLogger(__name__)


class PushedVersions(Artifact):
    """A folder whose one file has the complete versions below a model_base_path, each with its content's fingerprint.

    `components` exports it, as Kubeflow Pipelines needs it.
    """

    TYPE_NAME = "components.PushedVersions"


def write(artifact: Artifact, serving_dir: str) -> None:
    """Writes down what is in a serving folder now; it may be missing."""
    versions = {"serving_dir": serving_dir, "versions": fingerprints(serving_dir)}
    io_utils.write_string_file(os.path.join(artifact.uri, _FILE), json.dumps(versions, indent=2, sort_keys=True))


def log_changes(artifacts: list[Artifact] | None, serving_dir: str) -> None:
    """Warns where another run has pushed to a serving folder since this one began."""
    for artifact in artifacts or ():
        with fileio.open(os.path.join(artifact.uri, _FILE)) as file:
            before = json.loads(file.read())["versions"]
        if changed := sorted(
            version for version, content in fingerprints(serving_dir).items() if before.get(version) != content
        ):
            _LOG.warning("Since this run began, %s has got %s.", serving_dir, ", ".join(changed))
