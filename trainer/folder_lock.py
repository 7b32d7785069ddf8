"""One owner at a time for a folder: a file in it says who holds it, and a heartbeat shows whether that one lives.

Plain Python, so that a command can take a lock before it imports TensorFlow; a folder that has an address, `gs://...`,
is reached through TensorFlow's file systems.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Protocol

from serving import process_identity

FILE = "owner.json"
BEAT_SECONDS = 10.0
DEAD_SECONDS = 60.0
"""How long the heart of an owner on another machine must stand still until the folder is taken over."""

_POLL_SECONDS = 1.0
_BYTES = 1024
"""Size of the file, always the same: a heartbeat then needs no space on a full disk."""


class FolderHeld(RuntimeError):
    """Another process holds the folder; the message says which."""


class FolderLost(RuntimeError):
    """Another process has taken over the folder from this one, whose heart stood still."""


@dataclasses.dataclass(frozen=True)
class Owner:
    """The process that holds a folder."""

    token: str
    activity: str
    """What it does there, such as `draw run`."""
    host: str
    pid: int
    started: str
    """When the process started, which tells it from a later one with its number."""
    place: str
    """The machine's boot and the container, within which a process has its number."""
    since: str
    beat: int = 0

    @classmethod
    def for_this_process(cls, activity: str) -> Owner:
        """This process, under a new token."""
        return cls(
            token=uuid.uuid4().hex,
            activity=activity[:100],
            host=socket.gethostname()[:100],
            pid=os.getpid(),
            started=process_identity.start_of(os.getpid()) or "",
            place=process_identity.place(),
            since=f"{datetime.datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}",
        )

    @classmethod
    def from_text(cls, text: str) -> Owner | None:
        """Inverts `to_text`; None where nobody, or nothing that can be read, is written there."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def to_text(self) -> str:
        """Writes JSON, filled up with spaces."""
        return json.dumps(dataclasses.asdict(self)).ljust(_BYTES - 1) + "\n"

    def is_alive(self) -> bool | None:
        """Whether the process runs; None where this process cannot see it."""
        if self.place != process_identity.place():
            return None
        return process_identity.start_of(self.pid) == self.started

    def __str__(self) -> str:
        return f"{self.activity}, process {self.pid} on {self.host}, since {self.since}"


class Hold:
    """A folder that this process holds."""

    def __init__(self, file: _OwnerFile, owner: Owner, folder: str) -> None:
        self._file, self._owner, self._folder = file, owner, folder
        self._ended = threading.Event()
        self._successor: Owner | None = None
        self._thread = threading.Thread(target=self._beat, name=f"holds {folder}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises FolderLost where another process has taken the folder over."""
        if self._successor:
            raise FolderLost(
                f"This process stood still, and {self._folder} was taken over by {self._successor}. Nothing more is "
                "written there."
            )

    def release(self) -> None:
        """Ends the hold; a second call does nothing."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            with contextlib.suppress(OSError):
                self._file.remove(self._owner)

    def _beat(self) -> None:
        owner = self._owner
        while not self._ended.wait(BEAT_SECONDS):
            owner = dataclasses.replace(owner, beat=owner.beat + 1)
            # A disk that is full, or away for a moment, does not end the work.
            with contextlib.suppress(OSError):
                self._successor = self._file.beat(owner)
            if self._successor:
                return


@contextlib.contextmanager
def hold(
    folder: str,
    activity: str,
    *,
    wait: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[Hold]:
    """Holds a folder, which is made if it is missing, while the context is open.

    The hold of a process that has ended is taken over at once where it ran on this machine, and else when its heart
    has stood still for DEAD_SECONDS, which are counted here, for clocks differ. With `wait` this waits until another
    process lets go; `report` gets a line before any waiting.

    Raises FolderHeld where another process holds it, and OSError where the folder cannot be written to.
    """
    owner = Owner.for_this_process(activity)
    file: _OwnerFile = _AddressedFile(folder) if "://" in folder else _LocalFile(folder)
    _acquire(file, owner, folder, wait, report)
    held = Hold(file, owner, folder)
    try:
        yield held
    finally:
        held.release()


def is_held_here(folder: str) -> bool:
    """Whether a process of this machine that lives holds the folder; one elsewhere shows that by its heartbeats."""
    owner = (_AddressedFile(folder) if "://" in folder else _LocalFile(folder)).read()
    return owner is not None and owner.is_alive() is True


def _acquire(file: _OwnerFile, owner: Owner, folder: str, wait: bool, report: Callable[[str], None]) -> None:
    reported = False
    seen: Owner | None = None
    since = 0.0
    dead: Owner | None = None
    while other := file.claim(owner, over=dead):
        alive = other.is_alive()
        if seen is None or other != seen:
            # A beat since this process has begun to look: it lives, wherever it runs.
            alive = True if seen is not None and other.token == seen.token else alive
            seen, since = other, time.monotonic()
        if alive is False or (alive is None and time.monotonic() - since > DEAD_SECONDS):
            dead = other
            continue
        if alive and not wait:
            raise FolderHeld(
                f"{folder} is in use: {other}. Wait until it has ended, or end it, and start this again; two at once "
                "would spoil each other's files."
            )
        if not reported:
            reported = True
            report(
                f"waiting for {folder}, which is in use: {other}"
                if alive
                else f"waiting for {DEAD_SECONDS:.0f} s, to see whether the one that uses {folder} still lives: {other}"
            )
        time.sleep(_POLL_SECONDS)


class _OwnerFile(Protocol):
    def read(self) -> Owner | None:
        """Reads who holds the folder; None for nobody."""

    def claim(self, owner: Owner, *, over: Owner | None) -> Owner | None:
        """Writes the owner where there is none, or the dead one `over`; else returns the one that there is."""

    def beat(self, owner: Owner) -> Owner | None:
        """Writes the owner again; returns another one that is there in its place."""

    def remove(self, owner: Owner) -> None:
        """Lets go of the folder, if it is still the owner's."""


class _LocalFile:
    """An owner's file that is locked by the kernel while it is read and written."""

    def __init__(self, folder: str) -> None:
        self._folder, self._path = folder, os.path.join(folder, FILE)

    def read(self) -> Owner | None:
        try:
            with self._opened(os.O_RDONLY) as file:
                return _read(file)
        except OSError:
            return None

    def claim(self, owner: Owner, *, over: Owner | None) -> Owner | None:
        while True:
            os.makedirs(self._folder, exist_ok=True)
            # Its last owner may remove the folder meanwhile.
            with contextlib.suppress(FileNotFoundError), self._opened(os.O_RDWR | os.O_CREAT) as file:
                current = _read(file)
                if current is None or current == over:
                    os.pwrite(file, owner.to_text().encode(), 0)
                    return None
                return current

    def beat(self, owner: Owner) -> Owner | None:
        with self._opened(os.O_RDWR) as file:
            current = _read(file)
            if current is not None and current.token != owner.token:
                return current
            os.pwrite(file, owner.to_text().encode(), 0)
            return None

    def remove(self, owner: Owner) -> None:
        with self._opened(os.O_RDWR) as file:
            current = _read(file)
            if current is not None and current.token == owner.token:
                os.unlink(self._path)

    @contextlib.contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        while True:
            file = os.open(self._path, flags | os.O_CLOEXEC, 0o666)
            try:
                # Some file systems know no locks; there the moment between reading and writing stays open.
                with contextlib.suppress(_NoLocks):
                    _lock(file)
                # Else its last owner has removed it since it was opened.
                if process_identity.is_file_at(file, self._path):
                    yield file
                    return
            finally:
                os.close(file)


class _AddressedFile:
    """An owner's file in an object store, which has no locks: a claim counts if it is still there a moment later."""

    def __init__(self, folder: str) -> None:
        import tensorflow as tf

        self._gfile, self._errors = tf.io.gfile, (tf.errors.OpError,)
        self._folder, self._path = folder, f"{folder.rstrip('/')}/{FILE}"

    def read(self) -> Owner | None:
        try:
            with self._gfile.GFile(self._path, "r") as file:
                return Owner.from_text(file.read())
        except self._errors:
            return None

    def claim(self, owner: Owner, *, over: Owner | None) -> Owner | None:
        current = self.read()
        if current is not None and current != over:
            return current
        try:
            self._gfile.makedirs(self._folder)
            self._write(owner)
        except self._errors as error:
            raise OSError(errno.EIO, error.message, self._path) from error
        time.sleep(_POLL_SECONDS)
        current = self.read()
        return None if current is None or current.token == owner.token else current

    def beat(self, owner: Owner) -> Owner | None:
        current = self.read()
        if current is not None and current.token == owner.token:
            with contextlib.suppress(*self._errors):
                self._write(owner)
        return None if current is None or current.token == owner.token else current

    def remove(self, owner: Owner) -> None:
        current = self.read()
        if current is not None and current.token == owner.token:
            with contextlib.suppress(*self._errors):
                self._gfile.remove(self._path)

    def _write(self, owner: Owner) -> None:
        with self._gfile.GFile(self._path, "w") as file:
            file.write(owner.to_text())


class _NoLocks(OSError):
    pass


def _lock(file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        # A file that is opened to be read alone cannot be locked so on NFS.
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL):
            raise _NoLocks(error.errno, error.strerror) from error
        raise


def _read(file: int) -> Owner | None:
    return Owner.from_text(os.pread(file, _BYTES, 0).decode(errors="replace"))
