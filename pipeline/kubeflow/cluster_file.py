"""What a Kubernetes cluster gives a pipeline: image, stages' resources, volumes, secrets; read from one YAML file."""

from __future__ import annotations

import posixpath
import re
import typing
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import pydantic
from pydantic import Field

from pipeline.kubeflow.stage_resources import NEVER_REPEATED, Items, Section, Stage
from trainer import strict_yaml


def _check_absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{strict_yaml.shown(path)} is not absolute: it must begin with /.")
    return path


def _check_image(image: str) -> str:
    if not _IMAGE.fullmatch(image):
        raise ValueError(
            f"{strict_yaml.shown(image)} is no name of an image: give [REGISTRY/]NAME[:TAG][@DIGEST], with a NAME in "
            "small letters, such as registry.example.com/draw-tfx:0.2.0."
        )
    return image


_PART = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
# A registry has a dot or a port, or is localhost: else it would be a part of the name.
_IMAGE = re.compile(
    r"(?:(?:[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d+)?|[A-Za-z0-9-]+:\d+|localhost|\[[0-9a-fA-F:]+\](?::\d+)?)/)?"
    rf"{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@[a-z0-9+._-]+:[0-9a-fA-F]{{32,}})?",
    re.ASCII,
)
_Image = Annotated[str, Field(min_length=1), pydantic.AfterValidator(_check_image)]


def _check_name(name: str) -> str:
    if len(name) > 253 or not re.fullmatch(rf"{_LABEL}(\.{_LABEL})*", name):
        raise ValueError(
            f"{strict_yaml.shown(name)} is no name of a Kubernetes object: give small letters, digits, - and dots."
        )
    return name


def _check_volume_name(name: str) -> str:
    if len(name) > 63 or not re.fullmatch(_LABEL, name):
        raise ValueError(
            f"{strict_yaml.shown(name)} would also name the volume in the pod, which Kubernetes refuses unless it is "
            "at most 63 small letters, digits and -, without dots. Make a secret or claim of such a name."
        )
    return name


def _check_variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_.-][\w.-]*", name, re.ASCII):
        raise ValueError(f"{strict_yaml.shown(name)} is no name of a variable: give letters, digits, _, - and dots.")
    return name


def _check_mount(path: str) -> str:
    if ":" in path or path.strip("/").partition("/")[0] in ("", *_LAUNCHER_FOLDERS):
        raise ValueError(
            f"{strict_yaml.shown(path)} is no place for a mount: it must have no colon, and not lie in what Kubeflow "
            f"Pipelines mounts itself (/{', /'.join(_LAUNCHER_FOLDERS)})."
        )
    return path


_LAUNCHER_FOLDERS = ("gcs", "s3", "minio", ".local", ".cache", ".config", "kfp-launcher")
_LABEL = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_Name = Annotated[str, pydantic.AfterValidator(_check_name)]
_Variable = Annotated[str, pydantic.AfterValidator(_check_variable)]
_Mount = Annotated[str, pydantic.AfterValidator(_check_absolute), pydantic.AfterValidator(_check_mount)]


class Secret(Section):
    """A Kubernetes secret for every stage: its keys as environment variables, or as files in a folder."""

    name: _Name
    env: dict[_Variable, str] | None = None
    """The secret's key for each variable."""
    path: _Mount | None = None

    @pydantic.model_validator(mode="after")
    def _check_one_form(self) -> Secret:
        if (self.env is None) == (self.path is None):
            raise ValueError(f"secret {strict_yaml.shown(self.name)}: give either env or path.")
        if self.path is not None:
            _check_volume_name(self.name)
        return self


class Volume(Section):
    """A persistent volume claim that every stage mounts; ReadWriteMany where stages run on several nodes."""

    claim: Annotated[str, pydantic.AfterValidator(_check_volume_name)]
    path: _Mount


class Cluster(Section):
    """The whole file."""

    image: _Image
    """This project's image, with its tag."""
    image_pull_secrets: Items[_Name] = ()
    caching: bool = True
    fail_refused: bool = False
    """Whether a run whose model was refused fails, in a last stage; else it succeeds, and pushes nothing."""
    env: dict[_Variable, str] = Field({})
    secrets: Items[Secret] = ()
    volumes: Items[Volume] = ()
    default: Stage = Stage()
    """Values for every stage."""
    stages: dict[str, Stage] = Field({})
    """By a stage's name, what it has in place of the default."""

    @pydantic.model_validator(mode="after")
    def _check_mounts(self) -> Cluster:
        secrets = {secret.name for secret in self.secrets if secret.path is not None}
        if both := sorted(secrets & {volume.claim for volume in self.volumes}):
            raise ValueError(
                f"{both[0]} is both a secret with a path and a volume's claim: Kubeflow Pipelines names the pod's "
                "volumes by them, and two of one name make no pod. Make one of another name."
            )
        places = [secret.path for secret in self.secrets] + [volume.path for volume in self.volumes]
        paths = [path.rstrip("/") for path in places if path is not None]
        if repeated := [path for path in paths if paths.count(path) > 1]:
            raise ValueError(f"{repeated[0] or '/'} is the path of two mounts: give each a folder of its own.")
        return self

    def stage(self, name: str) -> Stage:
        """Returns the pods of the stage of that name."""
        return self.stages.get(name, Stage()).over(self.default)

    def check_stages(self, names: Sequence[str], beam_names: Sequence[str]) -> None:
        """Raises ValueError for a stage that the pipeline lacks, and for Beam options of one that uses no Beam."""
        for name, stage in self.stages.items():
            if name not in names:
                name = strict_yaml.shortened(name)
                raise ValueError(f"stages.{name}: the pipeline has no such stage. It has {', '.join(names)}.")
            if stage.retries is not None and name in NEVER_REPEATED:
                raise ValueError(f"stages.{name}.retries: what it refuses no repetition mends. Leave them out.")
            if stage.beam is not None and name not in beam_names:
                raise ValueError(f"stages.{name}.beam: only {', '.join(beam_names)} run on Beam.")

    def mounts(self, path: str) -> bool:
        """Whether a path is on one of the volumes."""
        return any(PurePosixPath(posixpath.normpath(path)).is_relative_to(volume.path) for volume in self.volumes)


def read(path: Path | None, *, image: str | None = None) -> Cluster:
    """Reads the cluster's YAML file; `image` overrides the file's, and suffices where there is no file.

    Raises ValueError with the file, each field that is wrong, what it holds and what was expected.
    """
    values: Any = {}
    if path is not None:
        values = strict_yaml.read(path, "the cluster's file")
        values = {} if values is None else values
    if image is not None and isinstance(values, dict):
        values = {**values, "image": image}
    try:
        return Cluster.model_validate(values)
    except pydantic.ValidationError as invalid:
        faults = [_message(fault).rstrip(".") for fault in invalid.errors()[:_FAULTS]]
        if invalid.error_count() > _FAULTS:
            faults.append(f"and {invalid.error_count() - _FAULTS:,} more")
        raise ValueError(f"{path or 'The cluster'}: {'; '.join(faults)}.") from invalid


_FAULTS = 8
"""Most that one message names."""


_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_type": "a whole number",
    "invalid_key": "text (in quotes)",
    "model_type": "a mapping",
    "string_too_short": "text that is not empty",
    "string_type": "text (in quotes)",
    "tuple_type": "a list",
}
"""What is expected by pydantic's type of error, in a user's words; other types have clear messages."""


def _message(fault: Any) -> str:
    """One fault as a sentence without a full stop: the field, what it holds, what was expected."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
    place = strict_yaml.shortened(place.replace(".[key]", " (the key)"))
    kind, message = fault["type"], fault["msg"]
    if kind == "missing":
        return f"{place} is missing"
    if kind == "extra_forbidden":
        return f"{place} is unknown; expected {', '.join(_section(fault['loc'][:-1]).model_fields)}"
    if kind == "value_error":
        return ": ".join(filter(None, (place, str(fault["ctx"]["error"]).rstrip("."))))
    expected = _EXPECTED.get(kind) or message.removeprefix("Input should be ")
    return f"{place or 'the file'} is {strict_yaml.shown(fault['input'])}; expected {expected}"


def _section(place: Sequence[str | int]) -> type[Section]:
    """The section at a place in the file."""
    section: type[Section] = Cluster
    for part in place:
        # Between two fields stands an index, or a key of a mapping.
        if part in section.model_fields:
            section = _section_in(section.model_fields[str(part)].annotation) or section
    return section


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section_in, typing.get_args(annotation))), None)
