"""The boot program of a Beam worker: what it asks the engine, and what its workers are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
from google.protobuf import json_format

from serving import beam_worker

OPTIONS = {"beam:option:s3_endpoint_url:v1": "http://store:9000"}


class Provision(beam_provision_api_pb2_grpc.ProvisionServiceServicer):
    """An engine's, which has two workers for one container."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def GetProvisionInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked += [str(value) for name, value in context.invocation_metadata() if name == "worker_id"]
        info = beam_provision_api_pb2.ProvisionInfo(runner_capabilities=["a", "b"], sibling_worker_ids=["1-2"])
        info.control_endpoint.url = "engine:7"
        json_format.ParseDict(OPTIONS, info.pipeline_options)
        return beam_provision_api_pb2.GetProvisionInfoResponse(info=info)


@pytest.fixture
def engine() -> Iterator[tuple[str, Provision]]:
    service, server = Provision(), grpc.server(ThreadPoolExecutor(1))
    beam_provision_api_pb2_grpc.add_ProvisionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", service
    server.stop(None)


@pytest.mark.parametrize("status", [0, 3])
def test_each_worker_is_told_where_and_with_which_options(
    status: int, engine: tuple[str, Provision], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, service = engine
    names = (
        "WORKER_ID", "PIPELINE_OPTIONS", "CONTROL_API_SERVICE_DESCRIPTOR", "LOGGING_API_SERVICE_DESCRIPTOR",
        "RUNNER_CAPABILITIES", "SEMI_PERSISTENT_DIRECTORY",
    )  # fmt: skip
    # The first ends, and the other would run on.
    code = f"""
import json, os, sys, time
path = {str(tmp_path)!r} + "/" + os.environ["WORKER_ID"]
with open(path + ".new", "w") as file:
    json.dump({{name: os.environ.get(name) for name in {names!r}}}, file)
os.rename(path + ".new", path)
if os.environ["WORKER_ID"] == "1-2":
    time.sleep(600)
while not os.path.exists({str(tmp_path / "1-2")!r}):
    time.sleep(0.05)
time.sleep(0.5)
sys.exit({status})
"""
    monkeypatch.setattr(beam_worker, "safe_command", lambda module: [sys.executable, "-c", code])
    handler = beam_worker.signal.getsignal(beam_worker.signal.SIGTERM)
    # Another child of the process, as what a worker has left to a container's first process.
    orphan = subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(7)"])
    words = ["--id=1-1", f"--provision_endpoint={address}", "--logging_endpoint=logs:8", "--artifact_endpoint=x:9"]
    try:
        assert beam_worker.main(words) == status
    finally:
        beam_worker.signal.signal(beam_worker.signal.SIGTERM, handler)
    orphan.wait()
    told = {name: json.loads((tmp_path / name).read_text()) for name in os.listdir(tmp_path)}
    assert told.keys() == {"1-1", "1-2"} and service.asked == ["1-1"]
    for worker, variables in told.items():
        assert variables["WORKER_ID"] == worker
        assert json.loads(variables["PIPELINE_OPTIONS"]) == OPTIONS
        assert variables["CONTROL_API_SERVICE_DESCRIPTOR"].strip() == 'url: "engine:7"'
        assert variables["LOGGING_API_SERVICE_DESCRIPTOR"].strip() == 'url: "logs:8"'
        assert variables["RUNNER_CAPABILITIES"] == "a b"
        assert variables["SEMI_PERSISTENT_DIRECTORY"] == "/tmp"


def test_words_that_are_missing_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        beam_worker.main(["--id=1-1"])
    assert "--provision_endpoint" in capsys.readouterr().err
