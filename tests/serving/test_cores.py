"""Cores are counted as the kernel grants them, by affinity and by quota, in both versions of control groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import cores as cores_module
from serving.cores import cores

V1, V2 = "cgroup", "cgroup2"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node of 64 cores, whose control groups lie in this folder."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(cores_module, "_PROCESS", tmp_path)
    return tmp_path


def _mount(node: Path, version: str, *, group: str, root: str = "/", limits: dict[str, tuple[int | None, int]]) -> None:
    """Mounts the groups from `root` on, with quota and period of each folder below the mount point."""
    point = node / "sys" / "fs" / "cgroup"
    for folder, (quota, period) in limits.items():
        (point / folder).mkdir(parents=True, exist_ok=True)
        if version == V2:
            (point / folder / "cpu.max").write_text(f"{'max' if quota is None else quota} {period}\n")
        else:
            (point / folder / "cpu.cfs_quota_us").write_text(f"{-1 if quota is None else quota}\n")
            (point / folder / "cpu.cfs_period_us").write_text(f"{period}\n")
    options = "rw" if version == V2 else "rw,cpu,cpuacct"
    others = f"30 24 0:26 / {node}/memory rw - cgroup cgroup rw,memory\n21 1 8:1 / / rw,relatime - ext4 /dev/vda rw\n"
    (node / "mountinfo").write_text(
        f"{others}31 24 0:27 {root} {point} rw,nosuid shared:9 - {version} cgroup {options}\n"
    )
    hierarchy = f"0::{group}\n" if version == V2 else f"7:memory:/elsewhere\n4:cpu,cpuacct:{group}\n0::/\n"
    (node / "cgroup").write_text(hierarchy)


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize(
    ("quota", "expected"), [(800_000, 8), (None, 64), (50_000, 1), (150_000, 2), (6_400_000, 64), (9_900_000, 64)]
)
def test_a_containers_limit_is_a_quota(node: Path, version: str, quota: int | None, expected: int) -> None:
    _mount(node, version, group="/", limits={"": (quota, 100_000)})
    assert cores() == expected


@pytest.mark.parametrize("version", [V1, V2])
def test_a_group_is_bound_by_those_above_it(node: Path, version: str) -> None:
    limits = {"": (None, 100_000), "pods": (300_000, 100_000), "pods/one": (400_000, 50_000)}
    _mount(node, version, group="/pods/one", limits=limits)
    assert cores() == 3


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("group", ["/kubepods/pod7/ab", "/../../pod7/ab"])
def test_a_container_that_sees_the_nodes_paths_finds_its_own(node: Path, version: str, group: str) -> None:
    """Where its namespace is the node's, the mount shows the container's folder alone."""
    _mount(node, version, group=group, root="/kubepods/pod7/ab", limits={"": (200_000, 100_000)})
    assert cores() == 2


def test_the_affinity_may_be_the_smaller(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    _mount(node, V2, group="/", limits={"": (800_000, 100_000)})
    assert cores() == 2


@pytest.mark.parametrize("text", ["", "garbage", "a b"])
def test_where_nothing_can_be_read_the_affinity_counts(node: Path, text: str) -> None:
    assert cores() == 64
    _mount(node, V2, group="/", limits={"": (1, 1)})
    (node / "sys" / "fs" / "cgroup" / "cpu.max").write_text(text)
    assert cores() == 64


def test_a_line_that_is_of_no_mount_is_passed_over(node: Path) -> None:
    _mount(node, V2, group="/", limits={"": (200_000, 100_000)})
    mounts = (node / "mountinfo").read_text()
    (node / "mountinfo").write_text(f"\n17 1 0:2 /\n18 1 0:3 / /dev rw - devtmpfs\n{mounts}")
    assert cores() == 2


def test_a_stage_and_a_server_take_as_many_threads(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.run_report import provenance
    from serving.server.batching import BatchingParameters
    from serving.server.server_config import ServerConfig

    _mount(node, V2, group="/", limits={"": (800_000, 100_000)})
    assert BatchingParameters().num_batch_threads == 8
    assert ServerConfig.__dataclass_fields__["grpc_max_threads"].default_factory() == 32  # type: ignore[misc]
    assert provenance.machine()["cores in use"] == "8"


CODE = """
import os, pathlib, sys
from serving import cores
cores._PROCESS = pathlib.Path(sys.argv[1])
os.sched_getaffinity = lambda _: set(range(64))
import tensorflow as tf
exec(sys.argv[2])
print(tf.config.threading.get_intra_op_parallelism_threads(), tf.config.threading.get_inter_op_parallelism_threads())
"""


def _threads(node: Path, code: str) -> tuple[int, ...]:
    """TensorFlow's threads in a new process of a container with 3 cores, after the code."""
    _mount(node, V2, group="/", limits={"": (300_000, 100_000)})
    command = [sys.executable, "-c", CODE, str(node), code]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout
    return tuple(map(int, output.split()))


def test_training_takes_as_many_threads_as_there_are_cores(node: Path) -> None:
    train = "from trainer.training import devices; devices._slices_pay = lambda: {}; devices.configure_threads()"
    # With slices each operation takes one thread.
    assert _threads(node, train.format(True)) == (1, 3)
    assert _threads(node, train.format(False)) == (3, 3)


def test_a_server_takes_as_many_threads_as_there_are_cores_where_no_flag_says_more(node: Path) -> None:
    serve = "from serving.server import server_process; server_process.configure_threads(*{})"
    assert _threads(node, serve.format((0, 0))) == (3, 3)
    assert _threads(node, serve.format((5, 0))) == (5, 3)
