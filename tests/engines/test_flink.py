"""The batch job and ingestion on a real Flink: in one process, and as a session cluster with workers of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import tiny
from tests.engines import java_jars, scoring
from tests.engines.flink_cluster import FlinkCluster, flink_cluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def jar() -> Path:
    return java_jars.jar("flink")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scoring.make_place(tmp_path_factory.mktemp("flink"))


@pytest.fixture(scope="module")
def expected(place: Path) -> Path:
    """What Beam's local runner makes of it."""
    output = place / "local"
    done = scoring.score(place, output, "--samples", "3")
    assert done.returncode == 0, done.stderr
    return output


def test_flink_in_one_process_scores_as_the_local_runner_does(
    jar: Path, place: Path, expected: Path, tmp_path: Path
) -> None:
    beam = ("--", "--runner=FlinkRunner", f"--flink_job_server_jar={jar}", "--parallelism=2")
    done = scoring.score(place, tmp_path / "out", "--samples", "3", *beam)
    assert done.returncode == 0, done.stderr
    assert scoring.without_progress(done.stderr) == ""
    scoring.assert_same(tmp_path / "out", expected)
    assert {path.name.split("-")[1] for path in tmp_path.iterdir()} == {"scores", "rejected", "summary.json"}


def test_flink_ingests_what_the_local_runner_does(jar: Path, tmp_path: Path) -> None:
    from tests.components.ingestion import by_id, ingest, records
    from trainer.task import Binarisation, ImageFiles

    (tmp_path / "photos").mkdir()
    for number in range(30):
        pixels = np.random.RandomState(number).randint(0, 256, (14, 10)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    source = ImageFiles(images=str(tmp_path / "photos"))
    task = dataclasses.replace(scoring.TASK, data=source, binarisation=Binarisation.NONE)
    flags = ("--runner=FlinkRunner", f"--flink_job_server_jar={jar}")
    both = [ingest(task, tmp_path, tmp_path / name, flags if name == "flink" else ()) for name in ("flink", "local")]
    for split in source.splits:
        one, other = (by_id(records(examples, split)) for examples in both)
        assert one == other and one


@pytest.fixture
def cluster(jar: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FlinkCluster]:
    folder = tmp_path / "flink"
    folder.mkdir()
    with flink_cluster(jar, folder, **getattr(request, "param", {})) as running:
        yield running


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    """The program that starts a worker, as in the image at /opt/apache/beam/boot."""
    script = tmp_path / "boot"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{tiny.ROOT}" exec "{sys.executable}" -m serving.beam_worker "$@"\n')
    script.chmod(0o755)
    return script


def _on(cluster: FlinkCluster, jar: Path, boot: Path) -> list[str]:
    """Beam's options of a job whose workers the cluster starts, in processes of their own."""
    return [
        *("--", "--runner=FlinkRunner", f"--flink_job_server_jar={jar}", f"--flink_master={cluster.address}"),
        *("--environment_type=PROCESS", f"--environment_option=process_command={boot}"),
    ]


@pytest.mark.parametrize("cluster", [{"task_managers": 2}], indirect=True)
def test_a_cluster_with_workers_of_its_own_scores_the_same(
    cluster: FlinkCluster, jar: Path, boot: Path, place: Path, expected: Path, tmp_path: Path
) -> None:
    done = scoring.score(place, tmp_path / "out", "--samples", "3", *_on(cluster, jar, boot), "--parallelism=2")
    assert done.returncode == 0, done.stderr
    scoring.assert_same(tmp_path / "out", expected)
    (job,) = cluster.jobs()
    assert job["state"] == "FINISHED" and job["name"].startswith("draw-score-batch-")


def test_an_interruption_ends_the_job_on_the_cluster(
    cluster: FlinkCluster, jar: Path, boot: Path, place: Path, tmp_path: Path
) -> None:
    command = scoring.command(place, tmp_path / "out", "--samples", "100000", *_on(cluster, jar, boot))
    with subprocess.Popen(command, env=scoring.environment(), stderr=subprocess.PIPE, text=True) as running:
        cluster.wait_for("RUNNING")
        time.sleep(10)
        running.send_signal(signal.SIGINT)
        errors = running.communicate(timeout=90)[1]
    assert (running.returncode, errors) == (130, "Interrupted: nothing was written.\n")
    assert [job["state"] for job in cluster.jobs()] == ["CANCELED"]
    assert not list(tmp_path.glob("out*"))


def test_workers_without_the_package_are_one_line(
    cluster: FlinkCluster, jar: Path, boot: Path, place: Path, tmp_path: Path
) -> None:
    without = tmp_path / "without"
    without.mkdir()
    (without / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Lacking:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'serving' and 'WORKER_ID' in os.environ:\n"
        "            raise ModuleNotFoundError(\"No module named 'serving'\", name=name)\n"
        "sys.meta_path.insert(0, Lacking())\n"
    )
    boot.write_text(boot.read_text().replace(f'"{tiny.ROOT}"', f'"{without}:{tiny.ROOT}"'))
    done = scoring.score(place, tmp_path / "out", *_on(cluster, jar, boot))
    assert done.returncode == 1
    start = "Error: The workers' Python lacks this package: install draw-tfx there, in the same version, or take its "
    assert done.stderr.startswith(f"{start}image. The log is ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


_RESTARTING = {"restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "5"}


@pytest.mark.parametrize(
    "cluster",
    [
        {"task_managers": 2},
        {"task_managers": 2, "values": {**_RESTARTING, "restart-strategy.fixed-delay.delay": "2s"}},
    ],
    ids=["defaults", "fixed_delay"],
    indirect=True,
)
def test_a_task_manager_that_dies_costs_no_row_and_no_row_twice(
    cluster: FlinkCluster, jar: Path, boot: Path, place: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With Flink's defaults the job fails and leaves nothing."""
    output = tmp_path / "out"
    command = scoring.command(place, output, "--samples", "3000", *_on(cluster, jar, boot))
    with subprocess.Popen(command, env=scoring.environment(), stderr=subprocess.PIPE, text=True) as running:
        cluster.wait_for("RUNNING")
        # A file of scores has been begun: a worker scores.
        with contextlib.suppress(TimeoutError):
            _wait(lambda: list(tmp_path.glob("out-unfinished-*/*")), 60)
        busy = next(
            (number for number, manager in enumerate(cluster.get("/taskmanagers")["taskmanagers"])
             if manager["freeSlots"] == 0), 0,
        )  # fmt: skip
        victim = cluster.get("/taskmanagers")["taskmanagers"][busy]["id"]
        logs = [(tmp_path / "flink" / f"taskmanager-{number}.log").read_text() for number in range(2)]
        cluster.task_managers[next((i for i, log in enumerate(logs) if victim in log), 0)].kill()
        errors = running.communicate(timeout=300)[1]
    if "defaults" in request.node.name:
        assert running.returncode == 1
        assert errors.startswith("Error: ") and errors.count("\n") == 1
        assert not list(tmp_path.glob("out*"))
    else:
        assert running.returncode == 0, errors
        assert len(scoring.rows(output)) == scoring.COUNT - 1


def _wait(done: Any, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.2)
