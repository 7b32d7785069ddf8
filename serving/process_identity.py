"""Which process wrote something down, and whether it still runs: numbers of processes are used again."""

from __future__ import annotations

import os
import socket


def place() -> str:
    """Names the machine's boot and the container, within which a number means one process at a time."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def start_of(pid: int) -> str | None:
    """Returns when the process started, in the kernel's ticks; None where there is none, or only its remains."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            # The name, in brackets, may hold anything.
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]


def is_file_at(descriptor: int, path: str) -> bool:
    """Whether an open file is the one at a path: what was locked may have been removed, or replaced, since."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
