"""Packages for Kubeflow Pipelines 2.x: a PipelineSpec of schema 2.1.0 in YAML, and with it a platform spec.

Pure functions of parsed YAML. The requirements are those of the back end's compiler (backend/src/apiserver/template and
backend/src/v2/compiler of kubeflow/pipelines), some of which it checks only when a run is created.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

SCHEMA_VERSION = "2.1.0"
OBJECT_STORES = ("gs://", "s3://", "minio://")
# Python's type of a parameter's default; TFX's parameters can be no STRUCT and no LIST.
_PYTHON_TYPES = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "STRING": str, "BOOLEAN": bool}

# A parsed document: str keys; dicts, lists, str, bool, int and float inside.
Document = dict[str, Any]


class InvalidPipelineSpec(ValueError):
    """A package that Kubeflow Pipelines would refuse; the message has a line for each violation."""

    def __init__(self, violations: Sequence[str]) -> None:
        super().__init__("Kubeflow Pipelines would refuse this pipeline:\n" + "\n".join(f"- {v}" for v in violations))
        self.violations = tuple(violations)


def from_job(job: Mapping[str, Any]) -> Document:
    """Extracts the PipelineSpec, with the root, from the PipelineJob that `KubeflowV2DagRunner.run` returns."""
    spec = copy.deepcopy(dict(job["pipelineSpec"]))
    root = job.get("runtimeConfig", {}).get("gcsOutputDirectory")
    if root:
        spec["defaultPipelineRoot"] = root
    return spec


def complete(spec: Mapping[str, Any], *, pipeline_root: str | None, defaults: Mapping[str, Any]) -> Document:
    """Adds what TFX leaves out of a PipelineSpec: the pipeline's root, and the defaults of runtime parameters.

    A parameter that has a default is optional. What the specification holds already stays, so that completing it twice
    changes nothing.

    Args:
        spec: a PipelineSpec.
        pipeline_root: where artifacts go, or None for the cluster's own default.
        defaults: by name, the default of each runtime parameter that has one.

    Raises:
        InvalidPipelineSpec: a default is not of its parameter's type.
    """
    completed = copy.deepcopy(dict(spec))
    if pipeline_root:
        completed.setdefault("defaultPipelineRoot", pipeline_root)
    violations = []
    for name, definition in parameters(completed).items():
        default = definition.get("defaultValue", defaults.get(name))
        if default is None:
            continue
        type_name = definition["parameterType"]
        expected = _PYTHON_TYPES.get(type_name)
        # Python takes a bool for an int, and YAML writes a float without a fraction as an int.
        if expected is float and isinstance(default, int) and not isinstance(default, bool):
            default = float(default)
        if expected and type(default) is not expected:
            violations.append(f"the default of parameter {name!r} is {default!r}, which is no {type_name}")
        definition.update(defaultValue=default, isOptional=True)
    if violations:
        raise InvalidPipelineSpec(violations)
    return completed


def parameters(spec: Mapping[str, Any]) -> dict[str, Document]:
    """Returns the definitions of the runtime parameters by name; they are those of `spec`, not copies."""
    return spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})


def is_root(address: str) -> bool:
    """Whether an address is that of a bucket, or of a folder in one, where Kubeflow Pipelines can keep artifacts."""
    return re.fullmatch(rf"(?:{'|'.join(OBJECT_STORES)})[^/?]+(?:[/?].*)?", address) is not None


def is_pipeline_spec(document: Mapping[str, Any]) -> bool:
    """Whether a document of a package is its PipelineSpec."""
    return "pipelineInfo" in document


def without_platform(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the PipelineSpec that the API gives of a version, nested there if the package has a platform spec."""
    return document.get("pipeline_spec", document)


def validate(documents: Sequence[Mapping[str, Any]]) -> None:
    """Checks a package before anything is uploaded.

    Raises:
        InvalidPipelineSpec: the back end would refuse the package, or a run of it.
    """
    violations = list(_violations(documents))
    if violations:
        raise InvalidPipelineSpec(violations)


def _violations(documents: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    specs = [document for document in documents if is_pipeline_spec(document)]
    platforms = [document for document in documents if not is_pipeline_spec(document)]
    if len(specs) != 1:
        yield f"a package holds one PipelineSpec, a document with pipelineInfo; this one holds {len(specs)}"
        return
    (spec,) = specs
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    yield from _violations_of_spec(spec)
    yield from _violations_of_executors(executors)
    for platform in platforms:
        yield from _violations_of_platform(platform, executors)
    if len(platforms) > 1:
        yield f"a package holds one platform spec at most; this one holds {len(platforms)}"


def _violations_of_spec(spec: Mapping[str, Any]) -> Iterator[str]:
    if spec.get("schemaVersion") != SCHEMA_VERSION:
        yield f"schemaVersion has to be {SCHEMA_VERSION}; it is {spec.get('schemaVersion')}"
    if not spec["pipelineInfo"].get("name"):
        yield "pipelineInfo.name is empty"
    root = spec.get("defaultPipelineRoot")
    if root and not is_root(root):
        yield f"the pipeline's root has to begin with {', '.join(OBJECT_STORES)} and a bucket; it is {root}"
    if "root" in spec.get("components", {}):
        yield "the component 'root' has a name that is reserved; give it another id"
    tasks = spec.get("root", {}).get("dag", {}).get("tasks", {})
    if not tasks:
        yield "the pipeline has no task"
    components = spec.get("components", {})
    for name, task in tasks.items():
        component = task.get("componentRef", {}).get("name")
        if component not in components:
            yield f"task {name!r} refers to the component {component!r}, which is not defined"
    for name, definition in parameters(spec).items():
        if "parameterType" not in definition:
            yield f"parameter {name!r} has no parameterType"


def _violations_of_executors(executors: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for label, executor in executors.items():
        if "resolver" in executor:
            yield f"{label!r} is a Resolver, which Kubeflow Pipelines does not implement; find the artifact another way"
        elif "container" not in executor and "importer" not in executor:
            yield f"{label!r} is {', '.join(executor) or 'empty'}; it has to be a container or an importer"
        accelerator = executor.get("container", {}).get("resources", {}).get("accelerator", {})
        name = accelerator.get("type") or accelerator.get("resourceType")
        if name is not None and "/" not in name:
            yield (
                f"{label!r} asks for the accelerator {name!r}; it has to be the name of a Kubernetes resource, "
                "such as nvidia.com/gpu"
            )


def _violations_of_platform(platform: Mapping[str, Any], executors: Iterable[str]) -> Iterator[str]:
    kubernetes = platform.get("platforms", {}).get("kubernetes")
    if kubernetes is None:
        # The back end ignores such a document silently.
        yield f"a document is neither a PipelineSpec nor has platforms.kubernetes; it has {', '.join(platform)}"
        return
    unknown = set(kubernetes.get("deploymentSpec", {}).get("executors", {})) - set(executors)
    for label in sorted(unknown):
        yield f"the platform spec configures {label!r}, which is no executor of the pipeline"


def read(path: Path) -> list[Document]:
    """Reads the documents of a package."""
    with path.open(encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document is not None]


def write(path: Path, documents: Sequence[Mapping[str, Any]]) -> None:
    """Writes a package. The same documents give the same bytes."""
    with path.open("w", encoding="utf-8") as file:
        yaml.safe_dump_all(documents, file, sort_keys=True, allow_unicode=True, width=120)
