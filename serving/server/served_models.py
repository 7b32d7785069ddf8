"""All models of the server: its configuration, the polling of their folders, and who is asked by a request."""

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
    """Names that stand for versions."""


class ServedModels:
    """The models that are served, by name."""

    def __init__(
        self, load: Load, *, allow_labels_of_missing_versions: bool = False, on_change: Callable[[], None] | None = None
    ) -> None:
        """`on_change` is called after the folders have been looked at, by the thread that did it."""
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
        """Whether a model of that name is configured."""
        return model in self._versions

    def configure(self, configs: Mapping[str, ModelConfig]) -> None:
        """Serves these models and no others; returns when all their versions are loaded, or known to be broken.

        Raises:
          StatusError: FAILED_PRECONDITION where a label names a version that is not available. The models are as the
            configuration says then, but the labels are as before.
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
        """Looks at the folders once."""
        with self._changing:
            for versions in self._versions.values():
                versions.reconcile()
            self._on_change()

    def start_polling(self, seconds: float) -> None:
        """Looks at the folders at this interval from now on."""
        self._poller = threading.Thread(target=self._poll_until_stopped, args=(seconds,), name="poll", daemon=True)
        self._poller.start()

    def stop(self) -> None:
        """Ends the polling."""
        self._stopped.set()
        if self._poller is not None:
            self._poller.join()

    @contextlib.contextmanager
    def lease(self, spec: model_pb2.ModelSpec) -> Iterator[Servable]:
        """The version that a request asks for, kept in memory meanwhile.

        Raises:
          StatusError: NOT_FOUND where there is none, INVALID_ARGUMENT where the spec names no model or no label that
            there is.
        """
        servable = self._acquire(spec)
        try:
            yield servable
        finally:
            servable.release()

    def statuses(self, spec: model_pb2.ModelSpec) -> dict[int, Status]:
        """Of the version that the spec names, or of all the model's.

        Raises:
          StatusError: NOT_FOUND where there is none, INVALID_ARGUMENT as for `lease`.
        """
        statuses = self._find(spec.name).statuses()
        choice = spec.WhichOneof("version_choice")
        if choice is not None:
            version = spec.version.value if choice == "version" else self.labelled(spec.name, spec.version_label)
            statuses = {number: status for number, status in statuses.items() if number == version}
        if not statuses:
            asked = "versions" if choice is None else f"version {version}"
            raise status_error.StatusError(
                grpc.StatusCode.NOT_FOUND,
                f"There {'are' if choice is None else 'is'} no {asked} of model {spec.name!r}.",
            )
        return statuses

    def all_statuses(self) -> dict[str, dict[int, Status]]:
        """Of all versions of all models."""
        return {name: versions.statuses() for name, versions in self._versions.items()}

    def labelled(self, model: str, label: str) -> int:
        """The version that the label stands for."""
        labels = self._labels.get(model, {})
        if label not in labels:
            raise status_error.invalid(f"Model {model!r} has no version label {label!r}, only {sorted(labels)}.")
        return labels[label]

    def _acquire(self, spec: model_pb2.ModelSpec) -> Servable:
        name, choice = spec.name, spec.WhichOneof("version_choice")
        version = None
        if choice == "version":
            version = spec.version.value
        elif choice == "version_label":
            version = self.labelled(name, spec.version_label)
        versions = self._find(name)
        servable = versions.acquire(version)
        # Between the two the configuration may have put another folder in the place of this one.
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
        """The same as before where its folder is, so that what is loaded stays loaded."""
        versions = self._versions.get(name)
        if versions is None or versions.base_path != config.base_path:
            return ModelVersions(name, config.base_path, config.policy, self._load)
        versions.policy = config.policy
        return versions

    def _expect_available(self, labels: Mapping[str, Mapping[str, int]]) -> None:
        for name, of_model in labels.items():
            statuses = self._versions[name].statuses()
            for label, version in of_model.items():
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
                _log.exception("The model folders could not be looked at; they will be again in %g s", seconds)
