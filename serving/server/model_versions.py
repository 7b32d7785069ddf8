"""The versions of one model: which of those on disk to serve, and the state of each from LOADING to END."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import threading
from collections.abc import Callable

from tensorflow_serving.apis import get_model_status_pb2

from serving.saved_model import GRAPH_FILE
from serving.server import status_error
from serving.server.servable import Servable

State = get_model_status_pb2.ModelVersionStatus.State

_DRAIN_SECONDS = 60.0
_ENDED_KEPT = 100
"""Ended versions that are still listed; a server that lives long sees more than anybody reads."""

_log = logging.getLogger(__name__)

Load = Callable[[str, int, pathlib.Path], Servable]
"""load(model, version, path): loads a version and warms it up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latest:
    """Serves the versions with the greatest numbers."""

    count: int = 1

    def choose(self, versions: list[int]) -> list[int]:
        """Chooses the versions to serve from those on disk."""
        return sorted(versions)[-self.count :]


@dataclasses.dataclass(frozen=True, kw_only=True)
class All:
    """Serves every version."""

    def choose(self, versions: list[int]) -> list[int]:
        """Chooses the versions to serve from those on disk."""
        return sorted(versions)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Specific:
    """Serves the versions with these numbers."""

    versions: tuple[int, ...]

    def choose(self, versions: list[int]) -> list[int]:
        """Chooses the versions to serve from those on disk."""
        return sorted(set(versions) & set(self.versions))


VersionPolicy = Latest | All | Specific


@dataclasses.dataclass(frozen=True)
class Status:
    """A version's state, and why it failed."""

    state: int
    error: status_error.StatusError | None = None


class ModelVersions:
    """The versions of one model under one folder.

    `reconcile` and `retire` are called by one thread at a time; everything else may be called by any.
    """

    def __init__(self, model: str, base_path: pathlib.Path, policy: VersionPolicy, load: Load) -> None:
        self.model = model
        self.base_path = base_path
        self.policy = policy
        self._load = load
        self._lock = threading.Lock()
        self._servables: dict[int, Servable] = {}
        self._statuses: dict[int, Status] = {}
        # What the folder of a broken version held when it was tried: it is tried again when that changes.
        self._broken: dict[int, object] = {}

    def statuses(self) -> dict[int, Status]:
        """Returns the status of each version seen so far."""
        with self._lock:
            return dict(self._statuses)

    def acquire(self, version: int | None) -> Servable | None:
        """Acquires the version of that number, or the greatest; returns None where it is not available."""
        with self._lock:
            if version is None:
                version = max(self._servables, default=None)
            servable = None if version is None else self._servables.get(version)
            # Under the lock, so that it is not unloaded before it is used.
            if servable is not None:
                servable.acquire()
            return servable

    def reconcile(self) -> None:
        """Loads the versions that are wanted and missing, then unloads those that are not wanted."""
        wanted = self.policy.choose(self._on_disk())
        for version in reversed(wanted):
            if version not in self._servables and self._broken.get(version) != self._content(version):
                self._load_version(version)
        # A new version that is broken leaves the old one where it is; so does a folder that became empty.
        if any(version in self._servables for version in wanted):
            for version in [version for version in self._servables if version not in wanted]:
                self._start_unloading(version)
        self._forget_ended()

    def retire(self) -> None:
        """Unloads all versions."""
        for version in list(self._servables):
            self._start_unloading(version)

    def _on_disk(self) -> list[int]:
        try:
            folders = list(self.base_path.iterdir())
        except OSError as error:
            _log.warning("Cannot list the versions of %s: %s", self.model, error)
            return []
        return [int(path.name) for path in folders if _is_number(path.name) and (path / GRAPH_FILE).is_file()]

    def _path(self, version: int) -> pathlib.Path:
        path = self.base_path / str(version)
        # A folder may be named 0007.
        return (
            path
            if path.is_dir()
            else next(
                other for other in self.base_path.iterdir() if _is_number(other.name) and int(other.name) == version
            )
        )

    def _content(self, version: int) -> object:
        """Returns the sizes and times of the version's files, to see when one changes."""
        try:
            path = self._path(version)
            stats = {str(file.relative_to(path)): file.stat() for file in path.rglob("*")}
        except (OSError, StopIteration):
            return None  # It is being changed or removed right now.
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}

    def _load_version(self, version: int) -> None:
        content = self._content(version)
        self._set_status(version, Status(State.LOADING))
        try:
            path = self._path(version)
            _log.info("Loading version %d of %s from %s", version, self.model, path)
            servable = self._load(self.model, version, path)
        # Whatever a broken version raises must not end the server, nor the versions that work.
        except Exception as error:
            reason = status_error.from_exception(error)
            _log.error("Version %d of %s cannot be served: %s", version, self.model, reason.message)
            self._broken[version] = content
            self._set_status(version, Status(State.END, reason))
            return
        self._broken.pop(version, None)
        with self._lock:
            self._servables[version] = servable
            self._statuses[version] = Status(State.AVAILABLE)
        _log.info("Version %d of %s is available", version, self.model)

    def _start_unloading(self, version: int) -> None:
        with self._lock:
            servable = self._servables.pop(version)
            self._statuses[version] = Status(State.UNLOADING)
        # Not waited for, because a request may take long, and other versions must come and go meanwhile.
        threading.Thread(target=self._unload, args=(servable,), name=f"unload-{version}", daemon=True).start()

    def _unload(self, servable: Servable) -> None:
        if not servable.wait_until_idle(_DRAIN_SECONDS):
            _log.warning("Version %d of %s still computes; it goes when it has finished", servable.version, self.model)
        with self._lock:
            # It may have been loaded again meanwhile.
            if self._statuses[servable.version].state == State.UNLOADING:
                self._statuses[servable.version] = Status(State.END)
        _log.info("Version %d of %s is unloaded", servable.version, self.model)

    def _set_status(self, version: int, status: Status) -> None:
        with self._lock:
            self._statuses[version] = status

    def _forget_ended(self) -> None:
        with self._lock:
            ended = sorted(version for version, status in self._statuses.items() if status.state == State.END)
            for version in ended[:-_ENDED_KEPT]:
                del self._statuses[version]
                self._broken.pop(version, None)


def _is_number(name: str) -> bool:
    # TF Serving's versions are int64.
    return name.isascii() and name.isdigit() and int(name) < 2**63
