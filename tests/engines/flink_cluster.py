"""A session cluster of Flink on this machine: job manager and task managers, each a process of the job server's jar."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.engines.java_jars import free_port, java, wait_for_port

_TASK_MANAGER = {
    "taskmanager.cpu.cores": "1.0",
    "taskmanager.memory.task.heap.size": "400mb",
    "taskmanager.memory.framework.heap.size": "128mb",
    "taskmanager.memory.framework.off-heap.size": "128mb",
    "taskmanager.memory.task.off-heap.size": "0b",
    "taskmanager.memory.managed.size": "200mb",
    "taskmanager.memory.network.min": "256mb",
    "taskmanager.memory.network.max": "256mb",
    "taskmanager.memory.jvm-metaspace.size": "256mb",
    "taskmanager.memory.jvm-overhead.min": "192mb",
    "taskmanager.memory.jvm-overhead.max": "192mb",
    "taskmanager.memory.flink.size": "1112mb",
    "taskmanager.memory.process.size": "1560mb",
    "taskmanager.numberOfTaskSlots": "1",
}
_ENTRY = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_RUNNER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"


class FlinkCluster:
    """Its REST API and its task managers."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.task_managers: list[subprocess.Popen[bytes]] = []

    def get(self, path: str) -> Any:
        """The JSON at a path of the REST API."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=10) as answer:
            return json.load(answer)

    def task_managers_there(self) -> int:
        """How many the job manager knows; none while it starts."""
        with contextlib.suppress(urllib.error.HTTPError):
            return int(self.get("/overview")["taskmanagers"])
        return 0

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs, the ended ones too."""
        return list(self.get("/jobs/overview")["jobs"])

    def wait_for(self, state: str, seconds: float = 120) -> dict[str, Any]:
        """Waits until a job has a state."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if matching := [job for job in self.jobs() if job["state"] == state]:
                return matching[0]
            time.sleep(0.3)
        raise TimeoutError(f"no job is {state}: {self.jobs()}")


@contextlib.contextmanager
def flink_cluster(
    jar: Path, folder: Path, *, task_managers: int = 1, values: Mapping[str, str] | None = None
) -> Iterator[FlinkCluster]:
    """Runs a cluster while the context is open."""
    cluster = FlinkCluster(free_port())
    config = {
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": str(free_port()),
        "jobmanager.bind-host": "127.0.0.1",
        "jobmanager.memory.process.size": "900mb",
        "taskmanager.host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": cluster.address.rpartition(":")[2],
        "blob.server.port": str(free_port()),
        "heartbeat.timeout": "10000",
        "heartbeat.interval": "2000",
        "io.tmp.dirs": str(folder),
        **_TASK_MANAGER,
        **(values or {}),
    }
    conf = folder / "conf"
    conf.mkdir()
    (conf / "flink-conf.yaml").write_text("".join(f"{name}: {value}\n" for name, value in config.items()))
    classes = ["-cp", str(jar)]
    with contextlib.ExitStack() as stack:
        log = folder / "jobmanager.log"
        manager = stack.enter_context(java("-Xmx448m", *classes, _ENTRY, "--configDir", str(conf), log=log))
        wait_for_port(int(config["rest.port"]), manager, log)
        for number in range(task_managers):
            arguments = ["-Xmx600m", "-XX:MaxDirectMemorySize=500m", *classes, _RUNNER, "--configDir", str(conf)]
            process = java(*arguments, log=folder / f"taskmanager-{number}.log")
            cluster.task_managers.append(stack.enter_context(process))
        until = time.monotonic() + 60
        while cluster.task_managers_there() < task_managers:
            assert time.monotonic() < until, (folder / "taskmanager-0.log").read_text(errors="replace")[-2000:]
            time.sleep(0.3)
        yield cluster
