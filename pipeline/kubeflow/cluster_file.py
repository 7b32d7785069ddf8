"""What a pipeline is given of a Kubernetes cluster: image, resources, volumes, secrets; read from one YAML file."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

TPU = "google.com/tpu"
TPU_SELECTORS = ("cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accelerator:
    """Devices of one type in each pod of a stage."""

    resource: str
    """Kubernetes' name of it: nvidia.com/gpu, google.com/tpu."""
    count: int

    def __post_init__(self) -> None:
        if "/" not in self.resource:
            raise ValueError(f"resource is {self.resource!r}: give Kubernetes' name of it, such as nvidia.com/gpu.")
        if self.count < 1:
            raise ValueError(f"count is {self.count}: it must be at least 1.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a stage is tried again, and after how long: `backoff_seconds`, times `factor` with each attempt."""

    count: int
    backoff_seconds: int = 30
    factor: float = 2.0
    max_backoff_seconds: int = 600

    def __post_init__(self) -> None:
        if self.count < 0 or self.backoff_seconds < 0 or self.max_backoff_seconds < self.backoff_seconds:
            raise ValueError(
                f"count {self.count}, backoff_seconds {self.backoff_seconds}, max_backoff_seconds "
                f"{self.max_backoff_seconds}: none may be negative, nor the second above the third."
            )
        if not self.factor >= 1:
            raise ValueError(f"factor is {self.factor}: it must be at least 1.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toleration:
    """As in a pod's specification."""

    key: str = ""
    operator: str = "Exists"
    value: str = ""
    effect: str = ""

    def __post_init__(self) -> None:
        if self.operator not in ("Exists", "Equal"):
            raise ValueError(f"operator is {self.operator!r}: it must be Exists or Equal.")
        if self.effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
            raise ValueError(f"effect is {self.effect!r}: it must be NoSchedule, PreferNoSchedule or NoExecute.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """The pods of a stage. None is left to `default`, and there to the cluster."""

    cpu: float | None = None
    """Cores."""
    memory_gb: float | None = None
    accelerator: Accelerator | None = None
    node_selector: Mapping[str, str] | None = None
    tolerations: tuple[Toleration, ...] | None = None
    retries: Retries | None = None
    beam: tuple[str, ...] | None = None
    """Beam's options; the last of a kind counts."""

    def __post_init__(self) -> None:
        for name in ("cpu", "memory_gb"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}: it must be positive.")
        if self.accelerator is not None and self.accelerator.resource == TPU:
            missing = [label for label in TPU_SELECTORS if label not in (self.node_selector or {})]
            if missing:
                raise ValueError(
                    f"accelerator is {TPU}, and node_selector lacks {' and '.join(missing)}: GKE finds a TPU by both."
                )

    def over(self, default: Stage) -> Stage:
        """This stage, with what it leaves open as in `default`."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(default, **{name: value for name, value in given.items() if value is not None})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Secret:
    """A Kubernetes secret that every stage sees: its keys as variables of the environment, or as files in a folder."""

    name: str
    env: Mapping[str, str] | None = None
    """The key in the secret of each variable."""
    path: str | None = None

    def __post_init__(self) -> None:
        if (self.env is None) == (self.path is None):
            raise ValueError(f"secret {self.name!r}: give either env or path.")
        if self.path is not None:
            _check_absolute("path", self.path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Volume:
    """A persistent volume claim that every stage mounts: ReadWriteMany, where the stages are on several nodes."""

    claim: str
    path: str

    def __post_init__(self) -> None:
        _check_absolute("path", self.path)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """All of it."""

    image: str
    """That of this project, with its tag."""
    image_pull_secrets: tuple[str, ...] = ()
    caching: bool = True
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    volumes: tuple[Volume, ...] = ()
    default: Stage = dataclasses.field(default_factory=Stage)
    """Of every stage."""
    stages: Mapping[str, Stage] = dataclasses.field(default_factory=dict)
    """What single stages have otherwise, by their names."""

    def __post_init__(self) -> None:
        if not self.image:
            raise ValueError("image is empty: name the image that the stages run in.")

    def stage(self, name: str) -> Stage:
        """What the stage of that name has."""
        return self.stages.get(name, Stage()).over(self.default)

    def check_stages(self, names: Sequence[str], beam_names: Sequence[str]) -> None:
        """Raises ValueError for a stage that the pipeline does not have, and for Beam options where it is not used."""
        for name, stage in self.stages.items():
            if name not in names:
                raise ValueError(f"stages.{name}: the pipeline has no such stage. It has {', '.join(names)}.")
            if stage.beam is not None and name not in beam_names:
                raise ValueError(f"stages.{name}.beam: only {', '.join(beam_names)} run on Beam.")

    def mounts(self, path: str) -> bool:
        """Whether a path is on one of the volumes."""
        return any(PurePosixPath(path).is_relative_to(volume.path) for volume in self.volumes)


def read(path: Path | None, *, image: str | None = None) -> Cluster:
    """The cluster that a YAML file describes; `image` comes before the file's, and is enough where there is no file.

    Raises ValueError with the file, the place in it, what is wrong there and what was expected.
    """
    values: Any = {}
    if path is not None:
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise ValueError(f"Cannot read the cluster's file {path}: {error.strerror}.") from error
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if image is not None and isinstance(values, dict):
        values = {**values, "image": image}
    try:
        cluster: Cluster = _parse(Cluster, values, "")
    except ValueError as error:
        raise ValueError(f"{path or 'The cluster'}: {error}") from error
    return cluster


def _check_absolute(name: str, path: str) -> None:
    if not path.startswith("/"):
        raise ValueError(f"{name} is {path!r}: it must be absolute.")


def _parse(expected: Any, value: Any, place: str) -> Any:
    """`value` of parsed YAML as `expected`, a type of the annotations above."""
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        (alternative,) = (argument for argument in arguments if argument is not type(None))
        return None if value is None else _parse(alternative, value, place)
    if dataclasses.is_dataclass(expected):
        return _parse_fields(expected, _of_type(dict, value, place), place)
    if origin is tuple:
        return tuple(
            _parse(arguments[0], item, f"{place}[{index}]") for index, item in enumerate(_of_type(list, value, place))
        )
    if origin is not None:
        return {
            _of_type(str, key, f"{place}, the key {key!r}"): _parse(arguments[1], item, f"{place}.{key}")
            for key, item in _of_type(dict, value, place).items()
        }
    return float(_of_type((int, float), value, place)) if expected is float else _of_type(expected, value, place)


def _parse_fields(expected: Any, values: dict[Any, Any], place: str) -> Any:
    prefix = f"{place}." if place else ""
    annotations = typing.get_type_hints(expected)
    unknown = [str(key) for key in values if key not in annotations]
    if unknown:
        raise ValueError(f"{prefix}{unknown[0]} is unknown; expected {', '.join(annotations)}.")
    for field in dataclasses.fields(expected):
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if field.name not in values and not optional:
            raise ValueError(f"{prefix}{field.name} is missing.")
    given = {key: _parse(annotations[key], value, f"{prefix}{key}") for key, value in values.items()}
    try:
        return expected(**given)
    except ValueError as error:
        raise ValueError(f"{place}: {error}" if place else str(error)) from error


_NAMES = {dict: "a mapping", list: "a list", str: "text (in quotes)", int: "a whole number", bool: "true or false"}


def _of_type(expected: Any, value: Any, place: str) -> Any:
    # Python takes a bool for an int.
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ValueError(f"{place or 'the file'} is {value!r}; expected {_NAMES.get(expected, 'a number')}.")
    return value
