"""A server in a process of its own, and the ordinary caller that an attack on it must not reach."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.serving import tiny_servable

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 120.0
PREDICT = f"/v1/models/{tiny_servable.NAME}:predict"


class ServedProcess:
    """`draw serve` of a folder of versions."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        until = time.monotonic() + _START_SECONDS
        while (match := re.search(r"Serving gRPC at \S+:(\d+), REST at http://\S+?:(\d+)/", log.read_text())) is None:
            assert time.monotonic() < until and process.poll() is None, log.read_text()
            time.sleep(0.1)
        self.grpc_port, self.rest_port = int(match[1]), int(match[2])

    def memory(self) -> int:
        """Bytes that the server and the processes that it started have in memory."""
        return sum(_resident(process) for process in (self.process.pid, *_children(self.process.pid)))

    def peak(self) -> int:
        """Bytes that the server has had in memory at most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10  # type: ignore[index]


@contextlib.contextmanager
def serve(folder: Path, log: Path, *flags: str, descriptors: int | None = None) -> Iterator[ServedProcess]:
    """Starts the server and yields it when it serves; it may open so many files."""

    def limit() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    command = [sys.executable, "-c", "from pipeline.cli.main import main; main()", "serve", str(folder)]
    with log.open("wb") as written:
        process = subprocess.Popen(
            [*command, "--port=0", f"--rest_api_port={_free_port()}", *flags],
            cwd=_ROOT,
            stderr=written,
            preexec_fn=limit,
        )
    try:
        yield ServedProcess(process, log)
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()


class Victim:
    """Asks over both protocols every 50 ms, in a process of its own, and notes how long it waited for right answers."""

    def __init__(self, server: ServedProcess, *, new_connections: bool = False) -> None:
        self._arguments = [str(server.rest_port), str(server.grpc_port), *(["--new"] if new_connections else [])]
        self._result: dict[str, Any] = {}

    def __enter__(self) -> Victim:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.ordinary_caller", *self._arguments],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"answered\n"
        return self

    def __exit__(self, *error: object) -> None:
        self._result = json.loads(self._process.communicate(timeout=120)[0])

    def worst(self) -> float:
        """Seconds; fails where an answer was none."""
        assert not self._result["failures"], self._result["failures"][:3]
        assert min(self._result["asked"]) > 1
        return float(self._result["worst"])


def post(server: ServedProcess, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Posts a prediction; returns the status and the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=120)
    with contextlib.closing(connection):
        connection.request("POST", PREDICT, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _resident(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0  # It has ended.
    return pages * resource.getpagesize()


def _children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [
            int(child)
            for task in Path(f"/proc/{process}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    return []
