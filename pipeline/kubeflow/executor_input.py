"""What KFP's launcher hands to a task, as TFX reads it; and TFX's answer, as the launcher does.

TFX's entry point was made for Vertex AI. The open-source back end differs in four ways:

- An input artifact comes without its type (tensorflow/tfx#7768) or with a generic one, and TFX needs it to make an
  object. The component's inputs specification has the type.
- Where the cluster keeps logs, `executor-logs` is among the outputs: the launcher's own, of no type that TFX knows.
- An artifact's address is one in an object store, which TensorFlow can open on Google Cloud alone. The launcher has
  copied the inputs to a local mirror, /minio/bucket/key of minio://bucket/key, and copies the outputs from there.
  In the answer it wants the addresses again: what has a path there is not uploaded.
- A null among an artifact's metadata, as TFX writes of a property that was never set, fails the task.
"""

from __future__ import annotations

import copy
import dataclasses
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

_FOLDERS = {"gs": "gcs", "minio": "minio", "s3": "s3"}
"""Of the mirror, by the scheme of the addresses."""


@dataclasses.dataclass(frozen=True)
class Mirror:
    """The launcher's local copies."""

    root: str = "/"

    def path(self, address: str) -> str:
        """Where the artifact at an address of an object store lies; anything else stays as it is."""
        scheme, found, key = address.partition("://")
        return posixpath.join(self.root, _FOLDERS[scheme], key) if found and scheme in _FOLDERS else address

    def address(self, path: str) -> str:
        """The inverse of `path`."""
        for scheme, folder in _FOLDERS.items():
            prefix = posixpath.join(self.root, folder, "")
            if path.startswith(prefix):
                return f"{scheme}://{path.removeprefix(prefix)}"
        return path


class NoMirror(Mirror):
    """Every address stays as it is, for those who open it themselves."""

    def path(self, address: str) -> str:
        """The address."""
        return address

    def address(self, path: str) -> str:
        """The path."""
        return path


def for_tfx(executor_input: Mapping[str, Any], inputs_spec: Mapping[str, Any], mirror: Mirror) -> dict[str, Any]:
    """The launcher's ExecutorInput with types and local paths. Both arguments are protobuf's JSON."""
    adapted = copy.deepcopy(dict(executor_input))
    specified = inputs_spec.get("artifacts", {})
    for key, artifact in _artifacts(adapted.get("inputs", {})):
        if key in specified:
            artifact["type"] = specified[key]["artifactType"]
        artifact["uri"] = mirror.path(artifact["uri"])
    outputs = adapted["outputs"].get("artifacts", {})
    for key, artifact in list(_artifacts(adapted["outputs"])):
        artifact["uri"] = mirror.path(artifact["uri"])
        # TFX compiles a schema for every output of a stage.
        if "instanceSchema" not in artifact["type"]:
            del outputs[key]
    return adapted


def for_launcher(executor_output: Mapping[str, Any], mirror: Mirror) -> dict[str, Any]:
    """TFX's ExecutorOutput with addresses, in the metadata too, and without nulls."""
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
    """Of all artifacts of a task."""
    sides = (executor_input.get("inputs", {}), executor_input.get("outputs", {}))
    return [artifact["uri"] for side in sides for _, artifact in _artifacts(side)]


def _artifacts(side: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, several in side.get("artifacts", {}).items():
        for artifact in several.get("artifacts", []):
            yield key, artifact
