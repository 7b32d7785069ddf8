"""The memory that requests may take together: each takes its share as it grows, or is refused."""

from __future__ import annotations

import contextlib
import contextvars
import os
import pathlib

import grpc

from serving.server import status_error

_SMALL = 2**20
_LARGE_SHARE = 7 / 8
"""Of the budget, for reservations beyond `_SMALL`: whoever fills it leaves the rest to small requests."""
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class MemoryBudget:
    """A number of bytes for all requests under way; used on the event loop alone."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.reserved = 0

    def reserve(self, size: int = 0) -> Reservation:
        """Opens a request's reservation, and makes it the one that `claim` adds to. Raises as `Reservation.grow`."""
        reservation = Reservation(self)
        reservation.grow(size)
        _current.set(reservation)
        return reservation


class Reservation:
    """The bytes that one request has taken; released once, by `release` or at the end of a with block."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._size = 0

    def grow(self, size: int) -> None:
        """Takes more bytes, or gives some back where `size` is negative.

        Raises:
          StatusError: RESOURCE_EXHAUSTED where the budget has not as many left.
        """
        wanted = self._size + size
        limit = self._budget.capacity * (_LARGE_SHARE if wanted > _SMALL else 1)
        if size > 0 and self._budget.reserved + size > limit:
            raise status_error.StatusError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"The request needs some {wanted / 2**20:.1f} MiB, and all requests together have "
                f"{self._budget.capacity / 2**20:.0f}: send fewer rows, try again later, or raise --max_memory_mb.",
            )
        self._size = wanted
        self._budget.reserved += size

    def move(self) -> Reservation:
        """Moves the bytes to a reservation of their own, which outlives this one's with block."""
        moved = Reservation(self._budget)
        moved._size, self._size = self._size, 0
        return moved

    def release(self) -> None:
        """Gives the bytes back."""
        self._budget.reserved -= self._size
        self._size = 0

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


_current: contextvars.ContextVar[Reservation | None] = contextvars.ContextVar("reservation", default=None)


def claim(size: int) -> None:
    """Takes more bytes for the request that this task answers; a warm-up request has no budget to take them from."""
    reservation = _current.get()
    if reservation is not None:
        reservation.grow(size)


def default_capacity() -> int:
    """Half of the memory that the container, or else the machine, has."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in _CGROUP_FILES:
        # There is none, or it says `max`.
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(pathlib.Path(file).read_text()))
    return min(limits) // 2
