"""The compose file's services as processes of this host, with a store at s3://, and the documented client's command."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from moto.server import ThreadedMotoServer

from tests import tiny
from tests.engines import java_jars
from tests.engines.flink_cluster import FlinkCluster
from tests.serving.model_server import export_model

pytestmark = pytest.mark.slow

TASK = tiny.MODELS["attention"]
COUNT = 30
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
DOCUMENT = tiny.ROOT / "docs" / "engines.md"


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """One of this host's for each that the file names."""
    return {name: java_jars.free_port() for name in ("6123", "6124", "8081", "8097", "8098", "8099", "50000", "9000")}


@pytest.fixture(scope="module")
def store(ports: dict[str, int]) -> Iterator[Any]:
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=ports["9000"], verbose=False)
    server.start()
    session = boto3.Session("test", "test", region_name="us-east-1")
    bucket = session.resource("s3", endpoint_url=f"http://127.0.0.1:{ports['9000']}").Bucket("draw")
    bucket.create()
    for name, rows in {"a": slice(0, 20), "b": slice(20, COUNT)}.items():
        array = io.BytesIO()
        np.save(array, tiny.make_images(TASK, COUNT)[rows])
        bucket.put_object(Key=f"images/{name}.npy", Body=array.getvalue())
    yield bucket
    server.stop()


def _here(text: str, ports: dict[str, int], boot: Path, conf: Path) -> str:
    """A word of the file, or of the document, as it is on this host."""
    text = re.sub(r"\b(jobmanager|jobserver|store|localhost|0\.0\.0\.0)\b(?=[:\s]|$)", "127.0.0.1", text)
    text = text.replace("/opt/apache/beam/boot", str(boot)).replace("/conf", str(conf))
    return re.sub(r"\b(\d{4,5})\b", lambda match: str(ports.get(match[1], match[1])), text)


@pytest.fixture(scope="module")
def services(ports: dict[str, int], store: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All of them run; gives the folder of their logs."""
    jar = java_jars.jar("flink")
    folder = tmp_path_factory.mktemp("compose")
    boot = folder / "boot"
    boot.write_text(f'#!/bin/sh\nPYTHONPATH="{tiny.ROOT}" exec "{sys.executable}" -m serving.beam_worker "$@"\n')
    boot.chmod(0o755)
    conf = folder / "flink"
    conf.mkdir()
    compose = yaml.safe_load((tiny.ROOT / "serving/config/flink/compose.yaml").read_text(encoding="utf-8"))
    text = _here(compose["configs"]["flink"]["content"], ports, boot, conf)
    (conf / "flink-conf.yaml").write_text(f"{text}taskmanager.host: 127.0.0.1\n")
    with contextlib.ExitStack() as stack:
        for name in ("jobmanager", "jobserver", "taskmanager"):
            service = compose["services"][name]
            command = [_here(word, ports, boot, conf) for word in service["command"]]
            options = service.get("environment", {}).get("JDK_JAVA_OPTIONS", "").split()
            log = folder / f"{name}.log"
            process = stack.enter_context(java_jars.java(*options, "-cp", str(jar), *command, log=log))
            if name == "taskmanager":
                _wait_for_task_manager(ports["8081"], process, log)
            else:
                java_jars.wait_for_port(ports["8081" if name == "jobmanager" else "8099"], process, log)
        pool = [_here(word, ports, boot, conf) for word in compose["services"]["workers"]["command"]]
        assert pool[:2] == ["python", "-P"]
        log = folder / "workers.log"
        with log.open("wb") as output:
            environment = {**os.environ, **KEYS, "XDG_CACHE_HOME": str(folder / "cache")}
            workers = subprocess.Popen([sys.executable, *pool[2:]], stdout=output, stderr=output, env=environment)
        stack.callback(workers.wait)
        stack.callback(workers.terminate)
        java_jars.wait_for_port(ports["50000"], workers, log)
        yield folder


def _wait_for_task_manager(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        if FlinkCluster(port).task_managers_there():
            return
        time.sleep(0.3)
    raise TimeoutError(log.read_text(errors="replace")[-3000:])


def documented(beginning: str) -> list[str]:
    """The command of docs/engines.md that begins so, in words."""
    text = DOCUMENT.read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if beginning in line)
    return line[line.index("draw score-batch") :].split()


def test_the_documented_command_scores_from_and_to_the_store(
    services: Path, ports: dict[str, int], store: Any, tmp_path: Path
) -> None:
    model = export_model(TASK, tmp_path / "model")
    for file in model.rglob("*"):
        if file.is_file():
            store.upload_file(str(file), f"models/mnist/{file.relative_to(model)}")
    words = [_here(word, ports, tmp_path, tmp_path) for word in documented("run --rm draw draw score-batch")]
    assert "--runner=PortableRunner" in words and f"--s3_endpoint_url=http://127.0.0.1:{ports['9000']}" in words
    command = [sys.executable, "-m", "serving.batch", *words[2:]]
    environment = {**os.environ, **KEYS, "PYTHONPATH": str(tiny.ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert (done.returncode, done.stderr) == (0, ""), (services / "taskmanager.log").read_text()[-3000:]
    keys = {each.key for each in store.objects.filter(Prefix="scores/")}
    assert "scores/mine-summary.json" in keys and not any("unfinished" in key for key in keys)
    summary = json.loads(store.Object("scores/mine-summary.json").get()["Body"].read())
    assert (summary["images"], summary["rejected"], summary["model_version"]) == (COUNT, 0, "3")
    assert len(list((services / "cache" / "draw-tfx" / "models").glob("*/3/saved_model.pb"))) == 1
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['8081']}/jobs/overview", timeout=10) as answer:
        (job,) = json.load(answer)["jobs"]
    assert job["state"] == "FINISHED"
