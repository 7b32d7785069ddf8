"""Sends many requests, a bounded number in flight, each again where another attempt may mend it."""

from __future__ import annotations

import collections
import dataclasses
import heapq
import queue
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import grpc


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retry:
    """How often, and after which pause, to send a request again if the server is unavailable.

    The pause before the k-th attempt is drawn from [0, first * multiplier**(k - 2)], at most `longest`, so that clients
    that failed together do not come back together.
    """

    attempts: int = 6
    """How often a request is sent at most."""
    first_seconds: float = 0.1
    multiplier: float = 2.0
    longest_seconds: float = 5.0
    patient: bool = False
    """Whether to send a request again, too, where a server is full, or where another server behind the same address may
    have the version that this one lacks; for programs that would rather wait than fail."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first_seconds <= 0 or self.multiplier < 1 or self.longest_seconds <= 0:
            raise ValueError(f"{self}: expected at least 1 attempt, positive seconds and a multiplier of at least 1.")

    def pause(self, failed: int) -> float:
        """Draws the seconds to wait after `failed` attempts."""
        try:
            longest = min(self.first_seconds * self.multiplier ** (failed - 1), self.longest_seconds)
        except OverflowError:
            longest = self.longest_seconds
        return random.uniform(0, longest)


class Again(NamedTuple):
    """When a request is to be sent again."""

    seconds: float
    """The pause before."""
    counts: bool = True
    """Whether the failed attempt counts as one."""


Decision = Callable[[grpc.RpcError, int], "Again | None"]
"""Decides, of an error and the attempts that failed, whether to send a request again; None ends the call."""


class CannotSend(ValueError):
    """gRPC does not take the request, or its metadata, or the channel is closed."""


class CallFailed(Exception):
    """A request got no answer: gRPC's error, and how often the request was sent."""

    def __init__(self, error: grpc.RpcError, attempts: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.attempts = attempts


def run(
    method: grpc.UnaryUnaryMultiCallable,
    requests: Sequence[Callable[[], bytes]],
    *,
    deadline: float,
    in_flight: int,
    again: Decision,
    metadata: Sequence[tuple[str, str | bytes]],
) -> Iterator[tuple[int, bytes]]:
    """Yields (index of the request, response) in the order in which the responses arrive.

    When it ends early or with an error, it cancels the requests in flight.

    Args:
      method: a method of a channel, which takes and gives bytes.
      requests: functions that make the requests, called at each attempt, so that few are in memory.
      deadline: when all of them must have ended, retries included, by time.monotonic().
      in_flight: how many may wait for a response, or for their next attempt, at the same time.
      again: whether and when to send a request again.
      metadata: gRPC metadata sent with each.

    Raises:
      CallFailed: at the first request that fails for good.
      CannotSend: at the first request that cannot be sent.
    """
    calls = _Calls(method, requests, deadline=deadline, in_flight=in_flight, again=again, metadata=metadata)
    try:
        while calls.remain:
            calls.send_due()
            response = calls.next_response()
            if response is not None:
                yield response
    finally:
        calls.cancel()


class _Attempt(NamedTuple):
    request: int
    """The request's index."""
    failed: int
    """How many attempts failed before this one."""


class _Calls:
    """The requests of one `run`: each is unsent, in flight, paused before its next attempt, or done."""

    def __init__(
        self,
        method: grpc.UnaryUnaryMultiCallable,
        requests: Sequence[Callable[[], bytes]],
        *,
        deadline: float,
        in_flight: int,
        again: Decision,
        metadata: Sequence[tuple[str, str | bytes]],
    ) -> None:
        self._method, self._requests, self._metadata = method, requests, metadata
        self._deadline, self._in_flight, self._again = deadline, in_flight, again
        self._unsent = collections.deque(_Attempt(request, 0) for request in range(len(requests)))
        self._paused: list[tuple[float, _Attempt]] = []
        """A heap of attempts by when to send them."""
        self._sent: dict[grpc.Future, _Attempt] = {}
        self._ended: queue.SimpleQueue[grpc.Future] = queue.SimpleQueue()

    @property
    def remain(self) -> bool:
        """Whether any request has no response yet."""
        return bool(self._unsent or self._paused or self._sent)

    def send_due(self) -> None:
        """Sends what is due after its pause, and as many new requests as may be in flight."""
        while self._paused and self._paused[0][0] <= time.monotonic():
            self._send(heapq.heappop(self._paused)[1])
        while self._unsent and len(self._sent) + len(self._paused) < self._in_flight:
            self._send(self._unsent.popleft())

    def next_response(self) -> tuple[int, bytes] | None:
        """Waits for a response, and returns None where an attempt failed or a pause ended instead."""
        wait = max(0.0, self._paused[0][0] - time.monotonic()) if self._paused else None
        try:
            future = self._ended.get(timeout=wait)
        except queue.Empty:
            return None
        attempt = self._sent.pop(future)
        error = future.exception()
        if error is not None and error.details() == "Invalid metadata":
            raise CannotSend(error.details())  # As newer versions of gRPC say it; the others raise at once.
        if error is not None:
            self._pause(attempt, error)
            return None
        return attempt.request, future.result()

    def cancel(self) -> None:
        """Cancels what is in flight."""
        for future in self._sent:
            future.cancel()

    def _send(self, attempt: _Attempt) -> None:
        timeout = max(0.0, self._deadline - time.monotonic())
        request = self._requests[attempt.request]()
        try:
            future = self._method.future(request, timeout=timeout, metadata=self._metadata)
        except (TypeError, ValueError) as error:
            raise CannotSend(str(error)) from error
        self._sent[future] = attempt
        future.add_done_callback(self._ended.put)

    def _pause(self, attempt: _Attempt, error: grpc.RpcError) -> None:
        """Schedules the next attempt, if one may mend it in time; else raises CallFailed."""
        again = self._again(error, attempt.failed + 1)
        if again is None or time.monotonic() + again.seconds >= self._deadline:
            raise CallFailed(error, attempt.failed + 1)
        next_attempt = _Attempt(attempt.request, attempt.failed + again.counts)
        heapq.heappush(self._paused, (time.monotonic() + again.seconds, next_attempt))
