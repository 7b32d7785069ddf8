"""All models of the server: their configuration, the polling of their folders, the version that answers a request."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping

import grpc
from tensorflow_serving.apis import model_pb2

from serving.server import status_error
from serving.server.model_versions import Latest, Load, ModelVersions, State, Status, VersionPolicy
from serving.server.servable import Servable

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model of models.config."""

    base_path: pathlib.Path
    """Holds a folder for each version, named by its number."""
    policy: VersionPolicy = Latest()  # noqa: RUF009  It is frozen.
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Version numbers by label."""


class ServedModels:
    """The models that are served, by name."""

    def __init__(
        self, load: Load, *, allow_labels_of_missing_versions: bool = False, on_change: Callable[[], None] | None = None
    ) -> None:
        """`on_change` is called each time that the folders have been read, by the thread that did it."""
        self._load = load
        self._allow_labels_of_missing_versions = allow_labels_of_missing_versions
        self._on_change = on_change or (lambda: None)
        self._changing = threading.Lock()
        # Both replaced as a whole, so that a request sees the old or the new.
        self._versions: dict[str, ModelVersions] = {}
        self._labels: dict[str, Mapping[str, int]] = {}
        self._stopped = threading.Event()
        self._poller: threading.Thread | None = None

    def has(self, model: str) -> bool:
        """Returns whether a model of that name is configured."""
        return model in self._versions

    def configure(self, configs: Mapping[str, ModelConfig]) -> None:
        """Serves these models and no others; returns when all their versions are loaded, or known to be broken.

        Raises:
          StatusError: FAILED_PRECONDITION where a label names a version that is not available. As in TF Serving, the
            models are then those of the configuration, and all labels stay as before.
        """
        with self._changing:
            before = self._versions
            after = {name: self._versions_of(name, config) for name, config in configs.items()}
            for versions in after.values():
                versions.reconcile()
            self._versions = after
            for name, versions in before.items():
                if after.get(name) is not versions:
                    versions.retire()
            labels = {name: config.labels for name, config in configs.items()}
            try:
                if not self._allow_labels_of_missing_versions:
                    self._expect_available(labels)
                self._labels = labels
            finally:
                self._on_change()

    def poll(self) -> None:
        """Loads and unloads versions as the folders now ask for."""
        with self._changing:
            for versions in self._versions.values():
                versions.reconcile()
            self._on_change()

    def start_polling(self, seconds: float) -> None:
        """Polls the folders at this interval from now on, on a thread."""
        self._poller = threading.Thread(target=self._poll_until_stopped, args=(seconds,), name="poll", daemon=True)
        self._poller.start()

    def stop(self) -> None:
        """Ends the polling."""
        self._stopped.set()
        if self._poller is not None:
            self._poller.join()

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
        name, version = spec.name, self._version(spec)
        versions = self._find(name)
        servable = versions.acquire(version)
        # In between, the configuration may have put another folder in the place of this one.
        while servable is None and self._versions.get(name) is not versions:
            versions = self._find(name)
            servable = versions.acquire(version)
        if servable is None:
            available = [number for number, status in versions.statuses().items() if status.state == State.AVAILABLE]
            asked = "No version" if version is None else f"Version {version}"
            raise status_error.StatusError(
                grpc.StatusCode.NOT_FOUND,
                f"{asked} of model {name!r} is {'' if version is None else 'not '}available; these are: "
                f"{sorted(available)}.",
            )
        return servable

    def _find(self, name: str) -> ModelVersions:
        if not name:
            raise status_error.invalid("The model_spec names no model.")
        versions = self._versions.get(name)
        if versions is None:
            raise status_error.StatusError(
                grpc.StatusCode.NOT_FOUND, f"There is no model {name!r}; this server has {sorted(self._versions)}."
            )
        return versions

    def _versions_of(self, name: str, config: ModelConfig) -> ModelVersions:
        """Returns the model's versions: the present ones where the folder is the same, so that they stay loaded."""
        versions = self._versions.get(name)
        if versions is None or versions.base_path != config.base_path:
            return ModelVersions(name, config.base_path, config.policy, self._load)
        versions.policy = config.policy
        return versions

    def _expect_available(self, labels: Mapping[str, Mapping[str, int]]) -> None:
        for name, model_labels in labels.items():
            statuses = self._versions[name].statuses()
            for label, version in model_labels.items():
                if version not in statuses or statuses[version].state != State.AVAILABLE:
                    raise status_error.StatusError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"Label {label!r} of model {name!r} names version {version}, which is not available: load it "
                        "first, or pass --allow_version_labels_for_unavailable_models.",
                    )

    def _poll_until_stopped(self, seconds: float) -> None:
        while not self._stopped.wait(seconds):
            try:
                self.poll()
            # A disk that fails once must not leave the models as they are for ever.
            except Exception:
                _log.exception("The model folders cannot be read; trying again in %g s", seconds)
