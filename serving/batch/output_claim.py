"""The claim of a job on its output: no other job writes there, and a dead job's successor takes it over."""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import logging
import os
import posixpath
import re
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from apache_beam.io.filesystems import FileSystems

from serving import beam_job, process_identity
from serving.beam_job import JobGoesOn
from serving.file_systems import as_pattern

_HEARTBEAT_SECONDS = 60.0
_DEAD_AFTER_SECONDS = 900.0
"""Without a sign of life. Only of a job on another host, whose process cannot be seen, or in a bucket."""
_OUTPUT = re.compile(
    r"-(?:(?:scores|flagged|rejected)-\d+-of-\d+\.\w+|summary\.json|(?:(?:most|least)-likely|flagged)\.png)"
)
_UNFINISHED = re.compile(r"-unfinished-[0-9a-f]{8}")


class Places(NamedTuple):
    """The paths that a job writes to."""

    prefix: str
    """What the names of all outputs begin with."""
    token: str
    """Tells the job from every other one."""

    @property
    def folder(self) -> str:
        """A folder beside the outputs for unfinished files, deleted at the end."""
        return f"{self.prefix}-unfinished-{self.token}"

    @property
    def claim(self) -> str:
        """The file that says whose the output is."""
        return f"{self.prefix}-unfinished.json"

    @property
    def summary(self) -> str:
        """The file that is written last: if it is there, all of them are."""
        return f"{self.prefix}-summary.json"

    def owns(self, path: str) -> bool:
        """Whether a path is that of an output, or of an unfinished one, of this job or another of the same prefix."""
        if not path.startswith(self.prefix):
            return False
        ending = path[len(self.prefix) :].partition("/")[0]
        return path == self.claim or any(pattern.fullmatch(ending) for pattern in (_OUTPUT, _UNFINISHED))

    @property
    def is_held(self) -> bool:
        """Whether the claim is this job's, seen from anywhere: another may have taken it over, or the user aborted."""
        return bool(_read(self.claim).get("token") == self.token)


@contextlib.contextmanager
def claimed(prefix: str, *, overwrite: bool) -> Iterator[Places]:
    """Claims an output, removes what dead jobs left of theirs, and at the end what this one did not publish.

    The unfinished files of a job that goes on elsewhere stay, for its workers write there, until the next job's start.

    Raises:
      ValueError: if a living job has the output, or there are outputs already and they are not to be overwritten.
      OSError: if the folder cannot be written to.
    """
    if prefix.endswith("/") or not prefix or re.fullmatch(r"[^/]+://[^/]*", prefix):
        example = posixpath.join(prefix, "scores")
        raise ValueError(f"The output {prefix!r} is a folder: add what the files' names begin with, as {example}.")
    places = Places(prefix, uuid.uuid4().hex[:8])
    made = _make_folders(posixpath.dirname(prefix))
    try:
        if not overwrite and (there := outputs(prefix)):
            raise ValueError(
                f"There is {there[0]} already, of an earlier job: choose another output, or --overwrite it."
            )
        (_claim_remote if "://" in prefix else _claim_local)(places)
        done = threading.Event()
        heart = threading.Thread(target=_beat, args=(places, done), daemon=True)
        heart.start()
        left: tuple[str, ...] = (places.claim, places.folder)
        try:
            for name in _beside(prefix, _UNFINISHED):
                delete(name)
            yield places
        except JobGoesOn as error:
            left = (places.claim,)
            raise JobGoesOn(
                f"Interrupted: the job publishes nothing, and until it ends it writes below {places.folder}."
            ) from error
        finally:
            done.set()
            heart.join()
            # First the claim: without it what still runs publishes nothing. Nor must this hide why the job has failed;
            # what stays is deleted by the next job.
            for unfinished in left:
                with contextlib.suppress(OSError):
                    if unfinished != places.claim or places.is_held:
                        delete(unfinished)
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                os.rmdir(folder)  # unless there is an output in it


def outputs(prefix: str) -> list[str]:
    """Lists the outputs that a job of this prefix has published."""
    return _beside(prefix, _OUTPUT)


def _beside(prefix: str, ending: re.Pattern[str]) -> list[str]:
    """Lists paths that are the prefix and an ending."""
    folder, name = posixpath.split(prefix)
    if "://" in prefix:
        # Not all that is in the folder: that may be a bucket of millions.
        files = [file.path for file in FileSystems.match([f"{as_pattern(prefix)}-**"])[0].metadata_list]
        below = len(folder) + 1
        names = {file[below:].partition("/")[0] for file in files}
    else:
        names = set(os.listdir(folder))
    return sorted(
        posixpath.join(folder, each) for each in names if each.startswith(name) and ending.fullmatch(each[len(name) :])
    )


def _make_folders(folder: str) -> list[str]:
    """Makes a folder and those above it; returns which were made, the outermost first."""
    if "://" in folder:
        return []
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for each in reversed(missing):
        os.mkdir(each)
    return missing[::-1]


def _claim_local(places: Places) -> None:
    while True:
        with open(places.claim, "a+b") as file:
            # So that of two jobs that see the same dead one the first alone takes over.
            fcntl.flock(file, fcntl.LOCK_EX)
            if not process_identity.is_file_at(file.fileno(), places.claim):
                continue  # Its owner has just ended.
            file.seek(0)
            _refuse_if_alive(places, _parse(file.read()), time.time() - os.fstat(file.fileno()).st_mtime)
            file.truncate(0)
            file.write(_own(places.token))
            return


def _claim_remote(places: Places) -> None:
    """Without a lock: of two jobs at once the one that writes last has it, and the other sees so when it publishes."""
    if holder := _read(places.claim):
        _refuse_if_alive(places, holder, time.time() - FileSystems.last_updated(places.claim))
    disabled = logging.root.manager.disable
    logging.disable()  # Beam logs the whole traceback
    try:
        _write(places)
    except Exception as error:  # whatever the store's library raises
        raise OSError(f"{places.prefix}-* cannot be written: {beam_job.reason(error)}") from error
    finally:
        logging.disable(disabled)
    if not places.is_held:
        raise ValueError(f"Another job has just begun to write {places.prefix}-*: choose another output.")


def _refuse_if_alive(places: Places, holder: dict[str, Any], silent_seconds: float) -> None:
    if not holder:
        return
    remedy = "wait for it, or choose another output."
    if holder["host"] == _host():
        alive = holder["started"] is not None and process_identity.start_of(holder["pid"]) == holder["started"]
    else:
        alive = silent_seconds < _DEAD_AFTER_SECONDS
        left = (_DEAD_AFTER_SECONDS - silent_seconds) / 60
        remedy += f" If it gives no sign of life for {left:.0f} minutes more, it is taken for dead."
    if alive:
        raise ValueError(
            f"Process {holder['pid']} of {holder['user']} on {holder['host'].partition('/')[0]} has been writing "
            f"{places.prefix}-* since {holder['since']}: {remedy}"
        )


def _beat(places: Places, done: threading.Event) -> None:
    while not done.wait(_HEARTBEAT_SECONDS):
        with contextlib.suppress(Exception):
            if not places.is_held:
                return
            if "://" in places.claim:
                _write(places)
            else:
                os.utime(places.claim)


def _own(token: str) -> bytes:
    pid = os.getpid()
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        user = str(os.getuid())
    values = {
        "token": token,
        "host": _host(),
        "pid": pid,
        "started": process_identity.start_of(pid),
        "user": user,
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    return json.dumps(values).encode()


def _host() -> str:
    return f"{socket.gethostname()}/{process_identity.place()}"


def _read(path: str) -> dict[str, Any]:
    """Reads a claim; empty if there is none."""
    try:
        if not FileSystems.exists(path):
            return {}
        with FileSystems.open(path) as file:
            return _parse(file.read())
    except FileNotFoundError:
        return {}


def _parse(content: bytes) -> dict[str, Any]:
    """A job that was killed while it wrote its claim had begun nothing else."""
    try:
        values = json.loads(content)
    except ValueError:
        return {}
    keys = {"token", "host", "pid", "started", "user", "since"}
    return values if isinstance(values, dict) and values.keys() >= keys else {}


def _write(places: Places) -> None:
    with FileSystems.create(places.claim) as file:
        file.write(_own(places.token))


def delete(path: str) -> None:
    """Deletes a file, or a folder with all that is in it, where it is there. Raises OSError where that fails."""
    if "://" in path:
        # In a bucket a folder is the objects whose names begin with it and a slash.
        below = FileSystems.match([f"{as_pattern(path)}/**"])[0].metadata_list
        objects = [file.path for file in below if file.path.startswith(f"{path}/")]
        FileSystems.delete([*objects, *([path] if FileSystems.exists(path) else [])])
    elif os.path.isdir(path):
        # Not by Beam, which takes a `[` in the name for a pattern.
        shutil.rmtree(path)
    else:
        Path(path).unlink(missing_ok=True)
