"""All models of the server: their configuration, and the version that answers a request."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent import futures

import grpc
from tensorflow_serving.apis import model_pb2

from serving.server import status_error
from serving.server.model_versions import Latest, Load, ModelVersions, Status, VersionPolicy
from serving.server.servable import Servable

_log = logging.getLogger(__name__)

_Labels = Mapping[str, Mapping[str, int]]
"""Version numbers by model and label."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model of models.config."""

    base_path: pathlib.Path
    """Holds a folder for each version, named by its number, or is such a folder; or a link to either."""
    policy: VersionPolicy = Latest()  # noqa: RUF009  It is frozen.
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Version numbers by label."""


class ServedModels:
    """The models that are served, by name."""

    def __init__(
        self,
        load: Load,
        *,
        poll_seconds: float,
        load_timeout: float,
        allow_labels_of_missing_versions: bool = False,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """Takes `load`, `poll_seconds` and `load_timeout` as `ModelVersions` does.

        `on_change` is called after each change of a version's status, by the thread that made it.
        """
        self._make_versions = lambda name, config: ModelVersions(
            name,
            config.base_path,
            config.policy,
            load,
            poll_seconds=poll_seconds,
            load_timeout=load_timeout,
            on_change=self._changed,
        )
        self._allow_labels_of_missing_versions = allow_labels_of_missing_versions
        self._on_change = on_change or (lambda: None)
        self._configuring = threading.Lock()
        self._stopped = False
        # All replaced as a whole, so that a request sees the old or the new.
        self._versions: dict[str, ModelVersions] = {}
        self._wanted_labels: _Labels = {}
        self._labels: _Labels = {}
        self._labelling = threading.Lock()

    def has(self, model: str) -> bool:
        """Returns whether a model of that name is configured."""
        return model in self._versions

    def configure(self, configs: Mapping[str, ModelConfig], *, strict: bool = False) -> None:
        """Serves these models and no others; returns when their versions are loaded, or known to be broken or late.

        A label whose version is not available leads to its last version until it is.

        Args:
          configs: the models by name.
          strict: whether a new model without an available version is an error, and such a label too. Otherwise a model
            is refused only where it would take the place of one that is available.

        Raises:
          StatusError: FAILED_PRECONDITION. For a model, everything stays as it was. For a label, all labels do, and the
            models are those of the configuration, as in TF Serving.
        """
        with self._configuring:
            before = self._versions
            kept = {name: before[name] for name in configs if self._stays(name, configs[name])}
            new = {name: self._make_versions(name, configs[name]) for name in configs if name not in kept}
            after = {name: kept.get(name) or new[name] for name in configs}
            if not before:
                # Nothing is lost, and the states can be seen while the versions load.
                self._versions = after
            _look_at(new.values())
            needed = new if strict else {name for name in new if name in before and before[name].available()}
            if missing := [name for name in needed if not new[name].available()]:
                for versions in new.values():
                    versions.retire()
                raise _no_version(missing[0], new[missing[0]])
            for name, versions in kept.items():
                versions.policy = configs[name].policy
            _look_at(kept.values())
            self._versions = after
            if self._stopped:
                self.stop()
            for name, versions in before.items():
                if after.get(name) is not versions:
                    versions.retire()
            labels = {name: dict(config.labels) for name, config in configs.items()}
            try:
                if strict and not self._allow_labels_of_missing_versions:
                    self._expect_available(labels)
                self._wanted_labels = labels
            finally:
                self._changed()
            for name, label, version in self._late_labels():
                _log.warning("Label %r of model %s waits for version %d", label, name, version)

    def stop(self) -> None:
        """Ends the looking for versions and the loading, without waiting for either. What is loaded still answers."""
        self._stopped = True
        for versions in self._versions.values():
            versions.stop()

    @contextlib.contextmanager
    def acquire(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """Yields the version that a request asks for, and keeps it in memory until the block ends.

        A request must acquire once, and use what it got to its end: a second look may find that version gone.

        Raises:
          StatusError: NOT_FOUND where there is none, INVALID_ARGUMENT where it names no model or an unknown label.
        """
        servable = self._acquire(spec)
        try:
            yield servable
        finally:
            servable.release()

    def statuses(self, spec: model_pb2.ModelSpec) -> dict[int, Status]:
        """Returns the status of the version that the spec names, or of each of the model's versions.

        Raises:
          StatusError: NOT_FOUND where there is none, INVALID_ARGUMENT as for `acquire`.
        """
        statuses = self._find(spec.name).statuses()
        version = self._version(spec)
        if version is not None:
            statuses = {number: status for number, status in statuses.items() if number == version}
        if not statuses:
            missing = "are no versions" if version is None else f"is no version {version}"
            raise status_error.StatusError(grpc.StatusCode.NOT_FOUND, f"There {missing} of model {spec.name!r}.")
        return statuses

    def all_statuses(self) -> dict[str, dict[int, Status]]:
        """Returns the status of each version of each model."""
        return {name: versions.statuses() for name, versions in self._versions.items()}

    def available(self) -> dict[str, list[int]]:
        """Lists the versions of each model that answer requests."""
        return {name: versions.available() for name, versions in self._versions.items()}

    def _stays(self, name: str, config: ModelConfig) -> bool:
        """Returns whether the model's folder is the same, so that its versions stay loaded."""
        return name in self._versions and self._versions[name].base_path == config.base_path

    def _version(self, spec: model_pb2.ModelSpec) -> int | None:
        """Returns the version that the spec names by number or label, None where it names neither."""
        choice = spec.WhichOneof("version_choice")
        if choice != "version_label":
            return spec.version.value if choice == "version" else None
        labels = self._labels.get(spec.name, {})
        if spec.version_label not in labels:
            raise status_error.invalid(
                f"Model {spec.name!r} has no version label {spec.version_label!r}, only {sorted(labels)}."
            )
        return labels[spec.version_label]

    def _acquire(self, spec: model_pb2.ModelSpec) -> Servable:
        while True:
            versions, version = self._find(spec.name), self._version(spec)
            servable = versions.acquire(version)
            if servable is not None:
                return servable
            # In between, another folder may have taken the place of this one, or the label have moved.
            if self._versions.get(spec.name) is versions and self._version(spec) == version:
                asked = "No version" if version is None else f"Version {version}"
                raise status_error.StatusError(
                    grpc.StatusCode.NOT_FOUND,
                    f"{asked} of model {spec.name!r} is {'' if version is None else 'not '}available; these are: "
                    f"{versions.available()}.",
                )

    def _find(self, name: str) -> ModelVersions:
        if not name:
            raise status_error.invalid("The model_spec names no model.")
        versions = self._versions.get(name)
        if versions is None:
            raise status_error.StatusError(
                grpc.StatusCode.NOT_FOUND, f"There is no model {name!r}; this server has {sorted(self._versions)}."
            )
        return versions

    def _changed(self) -> None:
        """Moves the labels whose versions have become available."""
        with self._labelling:
            late = {(name, label) for name, label, _ in self._late_labels()}
            labels: dict[str, dict[str, int]] = {}
            for name, wanted in self._wanted_labels.items():
                last = self._labels.get(name, {})
                labels[name] = {label: version for label, version in wanted.items() if (name, label) not in late}
                labels[name].update({label: last[label] for label in wanted if (name, label) in late and label in last})
            self._labels = labels
            # Here, so that of two changes at once the later one is told last.
            self._on_change()

    def _late_labels(self) -> list[tuple[str, str, int]]:
        if self._allow_labels_of_missing_versions:
            return []
        available = self.available()
        return [
            (name, label, version)
            for name, labels in self._wanted_labels.items()
            for label, version in labels.items()
            if version not in available.get(name, [])
        ]

    def _expect_available(self, labels: _Labels) -> None:
        available = self.available()
        for name, model_labels in labels.items():
            for label, version in model_labels.items():
                if version not in available[name]:
                    raise status_error.StatusError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"Label {label!r} of model {name!r} names version {version}, which is not available: load it "
                        "first, or pass --allow_version_labels_for_unavailable_models.",
                    )


def _look_at(models: Collection[ModelVersions]) -> None:
    """Looks at all at once: of several on a disk that does not answer, none waits until another is given up."""
    with futures.ThreadPoolExecutor(max(1, len(models)), "look") as lookers:
        list(lookers.map(ModelVersions.look, models))


def _no_version(name: str, versions: ModelVersions) -> status_error.StatusError:
    reasons = [f"version {number}: {status.error}" for number, status in versions.statuses().items() if status.error]
    return status_error.StatusError(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"Nothing is changed, because no version of model {name!r} in {versions.base_path} is available: "
        f"{' '.join(reasons) or 'there is none.'}",
    )
