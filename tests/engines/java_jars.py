"""Beam's job servers as jars, which Maven builds once, and the processes of Java that run them."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny

FOLDER = tiny.ROOT / "build" / "engines"
_OPEN = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in (
        "java.lang", "java.lang.invoke", "java.io", "java.net", "java.nio", "java.util", "java.util.concurrent",
        "java.util.concurrent.atomic", "java.time", "sun.nio.ch", "sun.nio.cs", "sun.security.action",
        "sun.util.calendar",
    )
]  # fmt: skip


@functools.cache
def why_not() -> str | None:
    """Why no jar can be built and run here."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        return "there is no java or no mvn here"
    said = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    match = re.search(r'version "(\d+)', said)
    if match is None or int(match[1]) < 17:
        return f"Java 17 or later is needed: {said.splitlines()[0]}"
    return None


def jar(engine: str) -> Path:
    """The job server of `flink` or `spark`; skips the test where it cannot be had."""
    if reason := why_not():
        pytest.skip(reason)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{engine}-job-server.jar"
    description = tiny.ROOT / "requirements" / "engines" / f"{engine}.xml"
    with (FOLDER / f"{engine}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists() or path.stat().st_mtime < description.stat().st_mtime:
            command = ["mvn", "--batch-mode", "--quiet", f"--file={description}", "package"]
            built = subprocess.run(command, capture_output=True, text=True)
            if built.returncode:
                pytest.skip(f"Maven could not build it: {built.stdout[-500:]}")
    return path


@contextlib.contextmanager
def java(*arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a process of Java, with its output in a file, and kills it at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(["java", *_OPEN, *arguments], stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    """Waits until something listens."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens at {port}: {log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
