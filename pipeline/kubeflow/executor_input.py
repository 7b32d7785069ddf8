"""Translates the input of a task from KFP's launcher to TFX, and its output back.

TFX's entry point was made for Vertex AI. Kubeflow's back end differs in four ways:

- An input artifact comes without its type (tensorflow/tfx#7768) or with a generic one, and TFX needs it to make an
  object. The component's inputs specification has the type.
- Where the cluster keeps logs, `executor-logs` is among the outputs: the launcher's own, of a type unknown to TFX.
- An artifact's address is one in an object store, which TensorFlow can open on Google Cloud alone. The launcher has
  copied the inputs to a local mirror, /minio/bucket/key of minio://bucket/key, and copies the outputs from there.
  The output has to hold addresses again: the launcher does not upload what has a path there.
- A null in an artifact's metadata, which TFX writes for a property that was never set, fails the task.
"""

from __future__ import annotations

import copy
import dataclasses
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

_FOLDERS = {"gs": "gcs", "minio": "minio", "s3": "s3"}
"""Folder of the mirror, by the scheme of an address."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclasses.dataclass(frozen=True)
class Mirror:
    """The launcher's local copies."""

    root: str = "/"
    folders: Mapping[str, str] = dataclasses.field(default_factory=lambda: _FOLDERS)
    """By the scheme of an address."""

    def path(self, address: str) -> str:
        """Returns the local path of an artifact in an object store; any other text stays as it is."""
        scheme, separator, key = address.partition("://")
        return posixpath.join(self.root, self.folders[scheme], key) if separator and scheme in self.folders else address

    def address(self, path: str) -> str:
        """Returns the address of a local path: the inverse of `path`."""
        for scheme, folder in self.folders.items():
            prefix = posixpath.join(self.root, folder, "")
            if path.startswith(prefix):
                return f"{scheme}://{path.removeprefix(prefix)}"
        return path


NO_MIRROR = Mirror(folders={})
"""Leaves addresses as they are, for workers that open them themselves."""


def for_tfx(executor_input: Mapping[str, Any], inputs_spec: Mapping[str, Any], mirror: Mirror) -> dict[str, Any]:
    """Adds types and local paths to the launcher's ExecutorInput. Both arguments are protobuf's JSON."""
    adapted = copy.deepcopy(dict(executor_input))
    specs = inputs_spec.get("artifacts", {})
    for key, artifact in _artifacts(adapted.get("inputs", {})):
        if key in specs:
            artifact["type"] = specs[key]["artifactType"]
        artifact["uri"] = mirror.path(artifact["uri"])
    outputs = adapted["outputs"].get("artifacts", {})
    for key, artifact in list(_artifacts(adapted["outputs"])):
        artifact["uri"] = mirror.path(artifact["uri"])
        # TFX compiles a schema for every output of a stage.
        if "instanceSchema" not in artifact["type"]:
            del outputs[key]
    return adapted


def for_launcher(executor_output: Mapping[str, Any], mirror: Mirror) -> dict[str, Any]:
    """Puts addresses into TFX's ExecutorOutput, also into its metadata, and drops nulls."""
    adapted = copy.deepcopy(dict(executor_output))
    for _, artifact in _artifacts(adapted):
        if "uri" in artifact:
            artifact["uri"] = mirror.address(artifact["uri"])
        if "metadata" in artifact:
            artifact["metadata"] = {
                name: mirror.address(value) if isinstance(value, str) else value
                for name, value in artifact["metadata"].items()
                if value is not None
            }
    return adapted


def addresses(executor_input: Mapping[str, Any]) -> list[str]:
    """Returns the addresses of all artifacts of a task."""
    sides = (executor_input.get("inputs", {}), executor_input.get("outputs", {}))
    return [artifact["uri"] for side in sides for _, artifact in _artifacts(side)]


def run_id(executor_input: Mapping[str, Any]) -> str | None:
    """Returns the id of the run, by the folder of an output: ROOT/PIPELINE/RUN/STAGE[/SALT]/KEY; None without outputs.

    The environment of a task has it in no release that this was read in.
    """
    for _, artifact in _artifacts(executor_input.get("outputs", {})):
        ids = [part for part in artifact["uri"].split("/")[:-2] if _UUID.fullmatch(part)]
        if ids:
            return str(ids[-1])
    return None


def _artifacts(side: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, several in side.get("artifacts", {}).items():
        for artifact in several.get("artifacts", []):
            yield key, artifact
