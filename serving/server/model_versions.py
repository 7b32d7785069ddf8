"""The versions of one model: which of those on disk to serve, and the state of each from LOADING to END."""

from __future__ import annotations

import dataclasses
import logging
import math
import pathlib
import threading
import time
from collections.abc import Callable

import grpc
from tensorflow_serving.apis import get_model_status_pb2

from serving.server import status_error, version_folders
from serving.server.servable import Servable

State = get_model_status_pb2.ModelVersionStatus.State

_ENDED_KEPT = 100
"""Ended versions that are still listed; a server that lives long sees more than anybody reads."""

_RETRY_SECONDS, _MAX_RETRY_SECONDS = 1.0, 60.0
"""From a load that failed to the next; each time twice as long."""

_DRAIN_SECONDS = 1.0
"""Between two looks whether a version that is being unloaded is still in use, where the folder is not polled."""

_FILES_AT_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DATA_LOSS,
}
"""Errors that the same files would give again."""

_log = logging.getLogger(__name__)

Load = Callable[[str, int, pathlib.Path, Callable[[str], None]], Servable]
"""load(model, version, path, report): loads a version and warms it up; reports what it does, as in "it reads FILE"."""

_Key = tuple[int, pathlib.Path]
"""A version's number, and its folder without links: another folder under the same number is another version."""


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
    """A version's state, and why it failed or is late."""

    state: int
    error: status_error.StatusError | None = None


@dataclasses.dataclass(frozen=True)
class _Failure:
    """A load that failed: tried again when the folder's files change, or it is time."""

    path: pathlib.Path
    content: object
    retry_seconds: float
    retry_at: float


class ModelVersions:
    """The versions of one model under one folder, loaded and unloaded on threads of their own.

    A disk that does not answer holds up this model's new versions, and nothing else. Any thread may call the methods.
    """

    def __init__(
        self,
        model: str,
        base_path: pathlib.Path,
        policy: VersionPolicy,
        load: Load,
        *,
        poll_seconds: float,
        load_timeout: float,
        on_change: Callable[[], None],
    ) -> None:
        """Begins to look after the folder.

        Args:
          model: the model's name.
          base_path: holds the versions, or is one; or a link to such.
          policy: which versions to serve.
          load: loads a version.
          poll_seconds: between two looks at the folder; 0 looks only when `look` is called.
          load_timeout: seconds after which nothing waits any longer for a load, nor for the disk.
          on_change: called after each change of a status, by a thread of this object.
        """
        self.model = model
        self.base_path = base_path
        self.policy = policy
        self._load = load
        self._poll_seconds = poll_seconds
        self._load_timeout = load_timeout
        self._on_change = on_change
        # Guards what follows, and is notified when a load or a look ends, or is asked for.
        self._changed = threading.Condition()
        self._servables: dict[int, Servable] = {}
        self._statuses: dict[int, Status] = {}
        self._unloading: list[Servable] = []
        self._loading: dict[_Key, str] = {}
        """What each load does now; one that is late stays here, for a thread that waits for a disk cannot be ended."""
        self._wanted: set[_Key] = set()
        self._failures: dict[int, _Failure] = {}
        self._problem = ""
        self._looks_asked = self._looks_done = 0
        self._progress = time.monotonic()
        self._stopped = False
        self._thread = threading.Thread(target=self._watch, name=f"versions of {model}", daemon=True)
        self._thread.start()

    def statuses(self) -> dict[int, Status]:
        """Returns the status of each version seen so far."""
        with self._changed:
            return dict(self._statuses)

    def available(self) -> list[int]:
        """Lists the versions that answer requests."""
        with self._changed:
            return sorted(self._servables)

    def acquire(self, version: int | None) -> Servable | None:
        """Acquires the version of that number, or the greatest; returns None where it is not available."""
        with self._changed:
            if version is None:
                version = max(self._servables, default=None)
            servable = None if version is None else self._servables.get(version)
            # Under the lock, so that it is not unloaded before it is used.
            if servable is not None:
                servable.acquire()
            return servable

    def look(self) -> bool:
        """Looks at the folder, and waits until its versions are loaded, or known to be broken or late.

        Returns False where the disk does not answer, or `stop` was called meanwhile.
        """
        with self._changed:
            self._looks_asked += 1
            look = self._looks_asked
            self._step()
            while self._looks_done < look and not self._stopped:
                # A load that is late ends by itself at the timeout; only a folder that cannot be listed does not.
                left = self._progress + self._load_timeout + 1 - time.monotonic()
                if left <= 0:
                    self._say(f"The folder {self.base_path} of model {self.model} does not answer.")
                    return False
                self._changed.wait(left)
            return self._looks_done >= look

    def stop(self) -> None:
        """Ends the looking and the loading, without waiting for either. What is loaded still answers."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def retire(self) -> None:
        """Stops, and gives up all versions: each goes when those who acquired it have released it."""
        with self._changed:
            self.stop()
            self._servables.clear()

    def _watch(self) -> None:
        while True:
            with self._changed:
                look = self._looks_asked
            try:
                self._reconcile()
            # A disk that fails once must not leave the model as it is for ever.
            except Exception as error:
                self._say(f"The versions of model {self.model} cannot be looked at: {error}")
            with self._changed:
                self._looks_done = look
                self._step()
                self._changed.wait_for(lambda: self._stopped or self._looks_asked > look, self._pause())  # noqa: B023
                if self._stopped:
                    return

    def _pause(self) -> float | None:
        """Returns the seconds until the next look; None for no end."""
        retry_at = min((failure.retry_at for failure in self._failures.values()), default=math.inf)
        pause = min(
            self._poll_seconds or math.inf,
            max(retry_at - time.monotonic(), _RETRY_SECONDS / 10),
            _DRAIN_SECONDS if self._unloading else math.inf,
        )
        return None if pause == math.inf else pause

    def _reconcile(self) -> None:
        """Loads the versions that are wanted and missing, then unloads those that are not wanted."""
        on_disk = version_folders.find_versions(self.base_path)
        self._say("" if on_disk else f"Model {self.model}: {version_folders.describe_missing(self.base_path)}")
        wanted = [(version, on_disk[version]) for version in self.policy.choose(list(on_disk))]
        with self._changed:
            self._step()
            self._wanted = set(wanted)
            self._failures = {
                version: failure for version, failure in self._failures.items() if (version, failure.path) in wanted
            }
        for version, path in reversed(wanted):
            if not self._stopped and self._is_missing(version, path):
                self._load_version(version, path)
        with self._changed:
            # A new version that is broken leaves the old one where it is; so does a folder that became empty.
            kept = {version for version, _ in wanted}
            for version in set(self._servables) - kept if kept & set(self._servables) else ():
                self._unloading.append(self._servables.pop(version))
                self._statuses[version] = Status(State.UNLOADING)
        self._end_unloaded(kept)
        self._on_change()

    def _is_missing(self, version: int, path: pathlib.Path) -> bool:
        """Returns whether to load the version now: not one that is served, nor being loaded, nor known to be broken."""
        with self._changed:
            served, failure = self._servables.get(version), self._failures.get(version)
            if (version, path) in self._loading or (served is not None and served.path == path):
                return False
        return failure is None or time.monotonic() >= failure.retry_at or _content(path) not in (None, failure.content)

    def _load_version(self, version: int, path: pathlib.Path) -> None:
        """Loads a version on a thread, and waits for it until it is late."""
        key = (version, path)
        with self._changed:
            self._loading[key] = "begins"
            # One that is replaced by another folder of the same number answers until then.
            if version not in self._servables:
                self._statuses[version] = Status(State.LOADING)
        self._on_change()
        _log.info("Loading version %d of %s from %s", version, self.model, path)
        try:
            threading.Thread(target=self._try_to_load, args=key, name=f"load {version}", daemon=True).start()
        except RuntimeError as error:  # There are too many threads.
            self._end_load(key, error, None)
        with self._changed:
            self._changed.wait_for(lambda: key not in self._loading or self._stopped, self._load_timeout)
            if key not in self._loading or self._stopped:
                return
            late = f"Version {version} is not loaded after {self._load_timeout:g} s: it still {self._loading[key]}."
            if version not in self._servables:
                reason = status_error.StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, late)
                self._statuses[version] = Status(State.LOADING, reason)
        _log.warning("Model %s: %s Nothing waits for it any longer.", self.model, late)

    def _try_to_load(self, version: int, path: pathlib.Path) -> None:
        key = (version, path)

        def report(activity: str) -> None:
            self._loading[key] = activity

        content = None
        try:
            content = _content(path)
            result: Servable | Exception = self._load(self.model, version, path, report)
        # Whatever a broken version raises must not end the server, nor the versions that work.
        except Exception as error:
            result = error
        self._end_load(key, result, content)

    def _end_load(self, key: _Key, result: Servable | Exception, content: object) -> None:
        version, path = key
        with self._changed:
            if self._stopped or key not in self._wanted:
                self._loading.pop(key)
                self._step()
                return
            if isinstance(result, Exception):
                self._fail(version, path, result, content)
            else:
                self._failures.pop(version, None)
                if version in self._servables:
                    self._unloading.append(self._servables[version])
                self._servables[version] = result
                self._statuses[version] = Status(State.AVAILABLE)
                _log.info("Version %d of %s is available", version, self.model)
        self._on_change()
        with self._changed:
            # Last, because then others are unloaded, and by then the labels must lead to this one.
            self._loading.pop(key)
            self._looks_asked += 1
            self._step()

    def _fail(self, version: int, path: pathlib.Path, error: Exception, content: object) -> None:
        reason = status_error.from_exception(error)
        # Without the traceback, whose frames hold all that was loaded of the version: 45 MB of a small model.
        reason = status_error.StatusError(reason.code, reason.message)
        seconds, retry_at, again = _RETRY_SECONDS, math.inf, "when its files change"
        if reason.code not in _FILES_AT_FAULT:
            last = self._failures.get(version)
            if last is not None and last.retry_at < math.inf:
                seconds = min(2 * last.retry_seconds, _MAX_RETRY_SECONDS)
            retry_at, again = time.monotonic() + seconds, f"in {seconds:g} s"
        self._failures[version] = _Failure(path, content, seconds, retry_at)
        served = State.AVAILABLE if version in self._servables else State.END
        self._statuses[version] = Status(served, reason)
        _log.error("Version %d of %s cannot be served (tried again %s): %s", version, self.model, again, reason.message)

    def _end_unloaded(self, wanted: set[int]) -> None:
        """Ends the versions that nobody uses any more, and forgets those that ended long ago."""
        with self._changed:
            for servable in [servable for servable in self._unloading if not servable.in_use]:
                self._unloading.remove(servable)
                _log.info("Version %d of %s is unloaded", servable.version, self.model)
            unloading = {servable.version for servable in self._unloading}
            for version, status in self._statuses.items():
                unloaded = status.state == State.UNLOADING and version not in unloading
                given_up = status.state == State.LOADING and version not in wanted
                if unloaded or given_up:
                    self._statuses[version] = Status(State.END)
            ended = sorted(version for version, status in self._statuses.items() if status.state == State.END)
            for version in ended[:-_ENDED_KEPT]:
                del self._statuses[version]

    def _step(self) -> None:
        self._progress = time.monotonic()
        self._changed.notify_all()

    def _say(self, problem: str) -> None:
        """Logs a problem of the folder, once."""
        if problem and problem != self._problem:
            _log.warning("%s", problem)
        self._problem = problem


def _content(path: pathlib.Path) -> object:
    """Returns the sizes and times of a version's files, to see when one changes; None where they change right now."""
    try:
        stats = {str(file.relative_to(path)): file.stat() for file in path.rglob("*")}
    except OSError:
        return None
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}
