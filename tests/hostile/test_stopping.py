"""Signals to `draw serve` while it loads, waits for a disk, or computes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest

from tests.serving import tiny_servable
from tests.serving.tiny_servable import NAME, predict_log, request, rows

pytestmark = pytest.mark.slow

_SOON = 8.0
"""Seconds for a stop in which nothing is answered, on a busy machine."""


def _spin(turns: int) -> dict[str, np.ndarray]:
    return {"turns": np.array([turns]), "number": np.array([7])}


class Serving:
    """A running `draw serve`, and what it has logged."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        until = time.monotonic() + seconds
        while (match := re.search(pattern, self.log)) is None:
            assert time.monotonic() < until and self.process.poll() is None, self.log
            time.sleep(0.02)
        return match

    def ports(self) -> tuple[int, int]:
        match = self.wait_for(r"Serving gRPC at \S+:(\d+), REST at \S+:(\d+)/v1/models/tiny\n")
        return int(match[1]), int(match[2])

    def end(self, seconds: float) -> int:
        """Returns the exit status."""
        status = self.process.wait(seconds)
        self._reader.join(10)
        return status

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line


@contextlib.contextmanager
def _serve(folder: Path, *flags: str, ignore_hangup: bool = False) -> Iterator[Serving]:
    code = "from pipeline.cli.main import main; main()"
    if ignore_hangup:
        code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {code}"
    with socket.create_server(("127.0.0.1", 0)) as free:
        rest_port = free.getsockname()[1]
    command = [sys.executable, "-c", code, "serve", str(folder), "--port=0", f"--rest_api_port={rest_port}", *flags]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield Serving(process)
        finally:
            process.kill()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny_servable.save(tmp_path / NAME, 1, offset=1.0)
    return tmp_path / NAME


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_long_warm_up_ends_the_server(tmp_path: Path, number: signal.Signals) -> None:
    long = predict_log(request(_spin(100_000_000), signature="spin"))
    tiny_servable.save(tmp_path / NAME, 1, offset=1.0, warm_up=[long])
    with _serve(tmp_path / NAME) as serving:
        serving.wait_for("Loading version 1")
        time.sleep(3)
        serving.process.send_signal(number)
        assert serving.end(_SOON) == 0, serving.log
    assert serving.log.endswith("Stopped\n")


def test_a_signal_ends_a_server_whose_disk_does_not_answer(base: Path) -> None:
    data = base / "1" / "variables" / "variables.data-00000-of-00001"
    data.unlink()
    os.mkfifo(data)
    with _serve(base, "--load_timeout_seconds=1") as serving:
        # It is there for the models whose disks do answer.
        _, rest = serving.ports()
        with urllib.request.urlopen(f"http://127.0.0.1:{rest}/v1/models/{NAME}", timeout=20) as answer:
            assert f"still reads {data}" in answer.read().decode()
        serving.process.send_signal(signal.SIGTERM)
        assert serving.end(_SOON) == 0, serving.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_both_protocols_answer_what_is_under_way(base: Path, number: signal.Signals) -> None:
    with _serve(base, "--grpc_max_threads=2") as serving, futures.ThreadPoolExecutor(12) as callers:
        grpc_port, rest_port = serving.ports()

        def ask_rest() -> int:
            body = json.dumps({"signature_name": "spin", "inputs": {"turns": [50_000], "number": [7]}}).encode()
            asked = urllib.request.Request(
                f"http://127.0.0.1:{rest_port}/v1/models/{NAME}:predict", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return int(json.loads(answer.read())["outputs"]["number"][0])

        with tiny_servable.client(grpc_port) as client:

            def ask_grpc() -> int:
                return int(client.predict(request(_spin(50_000), signature="spin"), timeout=60)["number"][0])

            answers = [callers.submit(call) for call in 6 * [ask_rest, ask_grpc]]
            metrics = f"http://127.0.0.1:{rest_port}/monitoring/prometheus/metrics"
            waiting = 0.0
            while waiting < 10:
                with urllib.request.urlopen(metrics, timeout=20) as page:
                    waiting = float(re.search(r"(?m)^draw_serving_waiting_requests (.*)$", page.read().decode())[1])  # type: ignore[index]
            serving.process.send_signal(number)
            assert [answer.result() for answer in answers] == 12 * [7]
        assert serving.end(_SOON) == 0, serving.log
    assert f"Stopping for {number.name}" in serving.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_server_at_once(base: Path, number: signal.Signals) -> None:
    with _serve(base, ignore_hangup=True) as serving:
        grpc_port, _ = serving.ports()
        with tiny_servable.client(grpc_port) as client:
            # nohup means it.
            serving.process.send_signal(signal.SIGHUP)
            call = client.prediction.Predict.future(request(_spin(100_000_000), signature="spin"), timeout=60)
            client.predict(request(rows(1)))
            serving.process.send_signal(number)
            serving.wait_for("Stopping for")
            time.sleep(0.5)
            assert serving.process.poll() is None
            began = time.monotonic()
            serving.process.send_signal(signal.SIGTERM)
            assert serving.end(_SOON) == 128 + signal.SIGTERM
            assert time.monotonic() - began < 2
            call.cancel()
    assert "Stopped at once" in serving.log


def test_requests_that_never_end_are_given_up_after_the_grace(base: Path) -> None:
    with _serve(base) as serving:
        grpc_port, _ = serving.ports()
        with tiny_servable.client(grpc_port) as client:
            call = client.prediction.Predict.future(request(_spin(100_000_000), signature="spin"), timeout=60)
            client.predict(request(rows(1)))
            serving.process.send_signal(signal.SIGTERM)
            assert serving.end(10 + _SOON) == 0, serving.log
            assert call.exception() is not None


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ip_6_is_printed_as_a_browser_takes_it(base: Path, host: str) -> None:
    with _serve(base, f"--host={host}") as serving:
        rest = serving.wait_for(r"REST at (http://\[::1\]:\d+/v1/models/tiny)\n")[1]
        page = serving.wait_for(r"(http://\[::1\]:\d+/live/)\n")[1]
        for address in (rest, page):
            with urllib.request.urlopen(address, timeout=20) as answer:
                assert answer.status == 200
        serving.process.send_signal(signal.SIGTERM)
        assert serving.end(_SOON) == 0


def test_a_terminal_that_is_stopped_does_not_stop_the_server(base: Path) -> None:
    """As Ctrl-S stops one: nothing that is written to it is taken."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write, bytes(4096)):
            pass
    os.set_blocking(write, True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # The server's own lines; what Python and TensorFlow say while they start goes elsewhere.
    code = f"import os; from pipeline.cli.main import main; os.dup2({write}, 2); main()"
    command = [sys.executable, "-c", code, "serve", str(base), "--port=0", f"--rest_api_port={port}"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL, pass_fds=[write]) as process:
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/{NAME}", timeout=20).close()
                    break
                except OSError:
                    assert time.monotonic() < until and process.poll() is None
                    time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(_SOON) == 0
        finally:
            process.kill()
            os.close(read)
            os.close(write)
