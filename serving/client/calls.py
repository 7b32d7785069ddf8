"""Many requests at once, a bounded number in flight, each tried again while the server is unavailable."""

from __future__ import annotations

import collections
import dataclasses
import heapq
import queue
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retry:
    """How often, and after which pause, a request is sent again that found the server unavailable.

    The pause before the k-th attempt is drawn from [0, first * multiplier**(k - 2)], at most `longest`: clients that
    failed together do not come back together.
    """

    attempts: int = 6
    """In all."""
    first_seconds: float = 0.1
    multiplier: float = 2.0
    longest_seconds: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_seconds <= 0 or self.multiplier < 1 or self.longest_seconds <= 0:
            raise ValueError(f"{self}: expected at least 1 attempt, positive seconds and a multiplier of at least 1.")

    def pause(self, failed: int) -> float:
        """Seconds to wait after `failed` attempts."""
        longest = min(self.first_seconds * self.multiplier ** (failed - 1), self.longest_seconds)
        return random.uniform(0, longest)


class CallFailed(Exception):
    """One of the requests has no answer: gRPC's error, and how often it was tried."""

    def __init__(self, error: grpc.RpcError, attempts: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.attempts = attempts


def run(
    method: grpc.UnaryUnaryMultiCallable,
    requests: Sequence[Callable[[], Any]],
    *,
    deadline: float,
    in_flight: int,
    retry: Retry,
    metadata: Sequence[tuple[str, str | bytes]],
) -> Iterator[tuple[int, Any]]:
    """Yields (index of the request, answer) in the order in which the answers come.

    Left early, or on an error, it cancels what is in flight.

    Args:
      method: of a channel.
      requests: functions that make the requests, called when their turn comes, so that few are in memory.
      deadline: of all of them together, retries included, by time.monotonic().
      in_flight: how many may wait for an answer, or for their next attempt, at the same time.
      retry: what to do where the server is unavailable.
      metadata: sent with each.

    Raises:
      CallFailed: at the first request that fails for good.
    """
    unsent = collections.deque(range(len(requests)))
    resting: list[tuple[float, int, int]] = []  # (when to try again, index, failed attempts)
    flying: dict[grpc.Future, tuple[int, int]] = {}  # (index, failed attempts before this one)
    landed: queue.SimpleQueue[grpc.Future] = queue.SimpleQueue()

    def send(index: int, failed: int) -> None:
        timeout = max(0.0, deadline - time.monotonic())
        future = method.future(requests[index](), timeout=timeout, metadata=metadata)
        flying[future] = (index, failed)
        future.add_done_callback(landed.put)

    try:
        while unsent or resting or flying:
            while unsent and len(flying) + len(resting) < in_flight:
                send(unsent.popleft(), 0)
            while resting and resting[0][0] <= time.monotonic():
                _, index, failed = heapq.heappop(resting)
                send(index, failed)
            wait = max(0.0, resting[0][0] - time.monotonic()) if resting else None
            try:
                future = landed.get(timeout=wait)
            except queue.Empty:
                continue
            index, failed = flying.pop(future)
            error = future.exception()
            if error is None:
                yield index, future.result()
                continue
            failed += 1
            again = time.monotonic() + retry.pause(failed)
            if error.code() is not grpc.StatusCode.UNAVAILABLE or failed >= retry.attempts or again >= deadline:
                raise CallFailed(error, failed)
            heapq.heappush(resting, (again, index, failed))
    finally:
        for future in flying:
            future.cancel()
