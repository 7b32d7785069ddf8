"""`draw serve` in a process of its own, with a model of the size of task `digits`, for a benchmark's load."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

MODEL = "digits"
START_SECONDS = 120.0
ROOT = pathlib.Path(__file__).resolve().parents[1]


class Served(NamedTuple):
    """A server that runs."""

    pid: int
    grpc_port: int
    rest_port: int


def export_untrained(directory: pathlib.Path, *, seed: int) -> None:
    """Exports the task's model with the weights that training would start from."""
    # They import TensorFlow, which takes seconds and says so.
    from trainer import tasks
    from trainer.export import exporter
    from trainer.training import objective

    task = tasks.get(MODEL)
    exporter.export(task, objective.for_task(task).initial_weights(seed), str(directory))


def publish(source: pathlib.Path, version: pathlib.Path) -> None:
    """Copies a version to where a server looks for it, whole or not at all."""
    unfinished = version.with_name(f"{version.name}.copying")
    shutil.copytree(source, unfinished)
    unfinished.rename(version)


@contextlib.contextmanager
def serve(base: pathlib.Path, *flags: str, code: pathlib.Path = ROOT) -> Iterator[Served]:
    """Serves the versions in `base` on free ports by the `code` of a checkout; yields when the server answers.

    Raises RuntimeError where it does not start, or does not end as it should.
    """
    command = [sys.executable, "-c", "from pipeline.cli.main import main; main()", "serve", str(base)]
    command += ["--port=0", f"--rest_api_port={_free_port()}"]
    # A file, for nobody reads while the load runs, and a full pipe would stop the server.
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*command, *flags], cwd=code, env={**os.environ, "PYTHONPATH": str(code)}, stderr=log
        )
        try:
            yield _started(process, log.fileno())
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(START_SECONDS)
            if status:
                raise RuntimeError(f"The server ended with status {status}: {_read(log.fileno())}")


def _started(process: subprocess.Popen[bytes], log: int) -> Served:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        match = re.search(r"Serving gRPC at \S+:(\d+).*REST at \S+?:(\d+)", _read(log))
        if match:
            return Served(process.pid, int(match[1]), int(match[2]))
        time.sleep(0.1)
    raise RuntimeError(f"The server did not start: {_read(log)}")


def _read(file: int) -> str:
    # Leaves the offset alone: the server writes through the same open file.
    return os.pread(file, 1 << 20, 0).decode(errors="replace")


def _free_port() -> int:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        return int(reserved.getsockname()[1])
