"""CPU cores that this process may use: the smaller of its affinity and its control group's quota."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROCESS = Path("/proc/self")


def cores() -> int:
    """Counts the cores that this process may use, at least 1.

    A container's CPU limit is a quota of time: the affinity still has every core of the node, and as many threads would
    wait for each other. A part of a core counts as one.
    """
    # macOS and Windows, on which clients run, have no affinity.
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *map(math.ceil, _quotas())]))


def _quotas() -> Iterator[float]:
    """Yields the quotas of this process's control group and of those above it, in cores."""
    try:
        # Lines such as `4:cpu,cpuacct:/pod` of version 1, and `0::/pod` of version 2.
        groups = [line.split(":", 2) for line in (_PROCESS / "cgroup").read_text(encoding="utf-8").splitlines()]
        mounts = (_PROCESS / "mountinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for mount in mounts:
        fields, _, filesystem = mount.partition(" - ")
        try:
            root, point = fields.split(" ")[3:5]
            kind, _, options = filesystem.split(" ", 2)
        except ValueError:
            continue  # Of a kernel that writes other lines, as sandboxes have it.
        is_v1 = kind == "cgroup" and "cpu" in options.split(" ")[-1].split(",")
        if not is_v1 and kind != "cgroup2":
            continue
        for _, controllers, path in groups:
            if ("cpu" in controllers.split(",")) if is_v1 else not controllers:
                for folder in _folders(Path(point), root, path):
                    yield from _quota(folder)


def _folders(point: Path, root: str, path: str) -> Iterator[Path]:
    """Yields the group's folder and those above it, below a mount point that shows the groups from `root` on."""
    group = PurePosixPath(path)
    # A group outside of what is mounted here is seen as the mount point: in a container that is its own.
    below = group.relative_to(root) if group.is_relative_to(root) and ".." not in group.parts else PurePosixPath()
    yield from (point / part for part in (below, *below.parents))


def _quota(folder: Path) -> Iterator[float]:
    """Yields the quota that a group's files hold; nothing where there is no bound."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period = " ".join((folder / name).read_text(encoding="utf-8") for name in names).split()
            if float(quota) > 0 and float(period) > 0:
                yield float(quota) / float(period)
        except (OSError, ValueError):
            continue  # Not of this version, or "max".
