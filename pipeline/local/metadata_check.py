"""Whether a run can use its metadata.db: neither damaged, nor locked by another process for long."""

from __future__ import annotations

import os
import sqlite3
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path

WAIT_SECONDS = 20.0
"""MLMD itself would wait for minutes, in silence."""


def check_metadata(path: Path, report: Callable[[str], None]) -> None:
    """Raises ValueError where MLMD's database cannot be written to, with who holds it or what to do.

    `report` gets a line before any waiting.
    """
    if not path.exists():
        return
    try:
        if not _is_writable(path):
            report(f"waiting for {path}, which is locked by {_holders(path)}, for {WAIT_SECONDS:.0f} s at most")
            until = time.monotonic() + WAIT_SECONDS
            while not _is_writable(path):
                if time.monotonic() > until:
                    raise ValueError(f"{path} is locked by {_holders(path)}. End that process, or wait for it.")
    except sqlite3.Error as error:
        problem = " ".join(str(error).split())
        raise ValueError(
            f"{path} cannot be used: {problem}. Bring back a copy of it; or move it away, and each stage runs anew, "
            "with pushed models as they are."
        ) from error


def _is_writable(path: Path) -> bool:
    """Whether the database can be locked within a second. Raises sqlite3.Error where it is damaged."""
    address = f"file:{urllib.parse.quote(str(path))}?mode=rw"
    connection = sqlite3.connect(address, uri=True, timeout=1, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        ((result,), *_) = connection.execute("PRAGMA quick_check(1)")
        if result != "ok":
            raise sqlite3.DatabaseError(result)
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return False
        raise
    finally:
        connection.close()
    return True


def _holders(path: Path) -> str:
    """Names the other processes of this machine that have the file open."""
    holders = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            files = {os.path.realpath(link) for link in (process / "fd").iterdir()}
            command = " ".join((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").split())
        except OSError:
            continue  # Another user's, or gone.
        if os.path.realpath(path) in files and int(process.name) != os.getpid():
            holders.append(f"process {process.name} ({command[:80]})")
    return ", ".join(holders) or "a process that cannot be seen from here"
