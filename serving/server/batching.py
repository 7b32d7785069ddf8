"""Decides when a request is computed, and with which others: one by one, or merged into batches."""

from __future__ import annotations

import abc
import asyncio
import bisect
import collections
import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Hashable, Sequence
from concurrent import futures

import grpc
import numpy as np

from serving.cores import cores
from serving.saved_model import Arrays
from serving.server import status_error
from serving.server.prometheus_metrics import Metrics
from serving.server.servable import Signature
from serving.server.status_error import StatusError


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchingParameters:
    """TF Serving's batching parameters, with its defaults."""

    max_batch_size: int = 1000
    """Most rows of a batch, and of a request."""
    batch_timeout_micros: int = 0
    """Microseconds that a batch that is not full waits for more requests while a thread is free."""
    max_enqueued_batches: int = 10
    """Batches of one signature that may wait; a request that would begin one more gets RESOURCE_EXHAUSTED."""
    num_batch_threads: int = dataclasses.field(default_factory=cores)
    allowed_batch_sizes: tuple[int, ...] = ()
    """Sizes that batches are padded to: rising, the last one max_batch_size. Empty: no padding."""

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.batch_timeout_micros < 0:
            raise ValueError(f"batch_timeout_micros is {self.batch_timeout_micros}; it must not be negative.")
        sizes = self.allowed_batch_sizes
        if sizes and (sizes[0] < 1 or list(sizes) != sorted(set(sizes)) or sizes[-1] != self.max_batch_size):
            raise ValueError(
                f"allowed_batch_sizes are {list(sizes)}; they must be positive, rise, and end with max_batch_size, "
                f"{self.max_batch_size}."
            )

    def padded(self, rows: int) -> int:
        """Returns the size that a batch of this many rows is padded to."""
        if not self.allowed_batch_sizes:
            return rows
        return self.allowed_batch_sizes[bisect.bisect_left(self.allowed_batch_sizes, rows)]


@dataclasses.dataclass(eq=False)
class _Task:
    """A request that waits for its outputs."""

    signature: Signature
    inputs: Arrays
    rows: int
    deadline: float
    """On time.monotonic's clock; infinite where the caller set none."""
    answer: asyncio.Future[Arrays]
    """Belongs to the caller's event loop; only code on that loop may touch it."""
    enqueued: float = dataclasses.field(default_factory=time.monotonic)

    def claim(self) -> bool:
        """Returns whether to compute the request: not one that was cancelled, nor one whose deadline has passed."""
        if self.answer.cancelled():
            return False
        if time.monotonic() < self.deadline:
            return True
        late = "The deadline passed while the request waited to be computed."
        _settle([(self, StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, late))])
        return False


def _settle(outcomes: Sequence[tuple[_Task, Arrays | StatusError]]) -> None:
    """Delivers outputs or errors to the callers, who are on one event loop.

    All in one step: a wake-up for each would hand Python's lock to the loop and wait to have it back, once a request,
    and a batch would take longer to deliver than to compute.
    """

    def deliver() -> None:
        for task, outcome in outcomes:
            if task.answer.done():  # It was cancelled meanwhile.
                continue
            if isinstance(outcome, StatusError):
                task.answer.set_exception(outcome)
            else:
                task.answer.set_result(outcome)

    # A loop that is closed has nobody who waits.
    with contextlib.suppress(RuntimeError):
        outcomes[0][0].answer.get_loop().call_soon_threadsafe(deliver)


class Scheduler(abc.ABC):
    """Computes requests on its own threads."""

    max_rows: int
    """Most rows of a request."""

    @abc.abstractmethod
    def submit(self, signature: Signature, inputs: Arrays, *, deadline: float) -> asyncio.Future[Arrays]:
        """Queues inputs that fit the signature; called on the event loop that awaits the outputs.

        The future fails with what TensorFlow raises on the inputs, or with StatusError, DEADLINE_EXCEEDED, where the
        deadline passed before they were computed.

        Raises:
          StatusError: RESOURCE_EXHAUSTED where too many requests wait already.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Computes what waits, and ends the threads."""


class UnbatchedScheduler(Scheduler):
    """Computes each request by itself."""

    def __init__(self, *, threads: int, max_rows: int, max_waiting: int, metrics: Metrics) -> None:
        self.max_rows = max_rows
        self._threads = threads
        self._pool = futures.ThreadPoolExecutor(threads, "compute")
        self._places = threading.BoundedSemaphore(threads + max_waiting)
        self._metrics = metrics

    def submit(self, signature: Signature, inputs: Arrays, *, deadline: float) -> asyncio.Future[Arrays]:
        """Queues the request for a thread of the pool."""
        if not self._places.acquire(blocking=False):
            raise StatusError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"All {self._threads} threads compute and the queue is full: try again later, or start more servers.",
            )
        task = _Task(signature, inputs, 0, deadline, asyncio.get_running_loop().create_future())
        self._metrics.waiting.inc()
        self._pool.submit(self._compute, task)
        return task.answer

    def close(self) -> None:
        """Computes what waits, and ends the threads."""
        self._pool.shutdown()

    def _compute(self, task: _Task) -> None:
        self._metrics.waiting.dec()
        try:
            if task.claim():
                try:
                    outputs = task.signature.run(task.inputs)
                except Exception as error:
                    _settle([(task, _reason(error))])
                else:
                    _settle([(task, outputs)])
        finally:
            self._places.release()


class _Queue:
    """The batches of one signature and shape that wait; requests join the last one."""

    def __init__(self) -> None:
        self.batches: collections.deque[list[_Task]] = collections.deque()
        self._open_rows = 0

    def add(self, task: _Task, parameters: BatchingParameters) -> bool:
        """Adds the task to a batch; returns False where the queue is full."""
        if self.batches and self._open_rows + task.rows <= parameters.max_batch_size:
            self.batches[-1].append(task)
            self._open_rows += task.rows
            return True
        if len(self.batches) >= parameters.max_enqueued_batches:
            return False
        self.batches.append([task])
        self._open_rows = task.rows
        return True

    def due(self, parameters: BatchingParameters) -> float:
        """Returns when the first batch is due: at once where no request can join it any more."""
        if len(self.batches) > 1 or self._open_rows >= parameters.max_batch_size:
            return 0.0
        return self.batches[0][0].enqueued + parameters.batch_timeout_micros / 1e6


class BatchingScheduler(Scheduler):
    """Merges requests of one signature and shape into batches.

    A batch is computed when it is full, or when a thread is free and its first request has waited long enough; so
    batches grow with the load by themselves.
    """

    def __init__(self, parameters: BatchingParameters, alone: Scheduler, metrics: Metrics) -> None:
        """`alone` computes what cannot be merged: signatures whose inputs and outputs have no rows."""
        self.max_rows = parameters.max_batch_size
        self._parameters = parameters
        self._alone = alone
        self._metrics = metrics
        # In the order in which the queues got their turn, so that no model starves another.
        self._queues: collections.OrderedDict[Hashable, _Queue] = collections.OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{index}", daemon=True)
            for index in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, signature: Signature, inputs: Arrays, *, deadline: float) -> asyncio.Future[Arrays]:
        """Adds the request to a batch of its signature and shape."""
        if not signature.has_rows:
            return self._alone.submit(signature, inputs, deadline=deadline)
        # A signature belongs to one version of one model, so this tells versions apart too.
        key = (id(signature), *(value.shape[1:] for _, value in sorted(inputs.items())))
        rows = len(next(iter(inputs.values())))
        task = _Task(signature, inputs, rows, deadline, asyncio.get_running_loop().create_future())
        with self._changed:
            queue = self._queues.setdefault(key, _Queue())
            if not queue.add(task, self._parameters):
                raise StatusError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{len(queue.batches)} batches of signature {signature.name!r} wait already: try again later, "
                    "raise max_enqueued_batches, or start more servers.",
                )
            self._changed.notify()
        self._metrics.waiting.inc()
        return task.answer

    def close(self) -> None:
        """Computes what waits, and ends the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._alone.close()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._metrics.waiting.dec(len(batch))
            tasks = [task for task in batch if task.claim()]
            now = time.monotonic()
            for task in tasks:
                self._metrics.queuing_latency.observe((now - task.enqueued) * 1e6)
            if tasks:
                self._compute(tasks)

    def _next_batch(self) -> list[_Task] | None:
        """Waits for a batch that is due; returns None when closed and empty."""
        with self._changed:
            while True:
                now = time.monotonic()
                earliest = float("inf")
                for key, queue in self._queues.items():
                    due = 0.0 if self._closed else queue.due(self._parameters)
                    if due <= now:
                        batch = queue.batches.popleft()
                        if queue.batches:
                            self._queues.move_to_end(key)
                        else:
                            del self._queues[key]
                        return batch
                    earliest = min(earliest, due)
                if self._closed:
                    return None
                self._changed.wait(None if earliest == float("inf") else earliest - now)

    def _compute(self, tasks: Sequence[_Task]) -> None:
        """Answers the tasks. Where TensorFlow refuses a merged batch, its halves, so that a bad request fails alone."""
        signature, rows = tasks[0].signature, sum(task.rows for task in tasks)
        try:
            outputs = signature.run(self._merged(tasks, rows))
            _expect_rows(outputs, self._parameters.padded(rows))
        except Exception as error:
            if len(tasks) == 1:
                _settle([(tasks[0], _reason(error))])
            else:
                self._compute(tasks[: len(tasks) // 2])
                self._compute(tasks[len(tasks) // 2 :])
            return
        self._metrics.batch_size.observe(rows)
        self._metrics.padding.observe(self._parameters.padded(rows) - rows)
        ends = list(itertools.accumulate(task.rows for task in tasks))
        _settle(
            [
                (task, {alias: value[end - task.rows : end] for alias, value in outputs.items()})
                for task, end in zip(tasks, ends, strict=True)
            ]
        )

    def _merged(self, tasks: Sequence[_Task], rows: int) -> Arrays:
        """Concatenates the inputs, and repeats the last row up to an allowed size."""
        missing = self._parameters.padded(rows) - rows
        merged = {}
        for alias, value in tasks[-1].inputs.items():
            parts = [task.inputs[alias] for task in tasks]
            if missing:
                parts.append(np.repeat(value[-1:], missing, axis=0))
            merged[alias] = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return merged


def _reason(error: Exception) -> StatusError:
    """Makes what a computation raised a caller's error, without the traceback.

    That leads to the task, which leads to the error: a circle that would keep the request in memory.
    """
    return StatusError(*status_error.report(error, "A computation"))


def _expect_rows(outputs: Arrays, rows: int) -> None:
    for alias, value in outputs.items():
        if value.shape[:1] != (rows,):
            raise StatusError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"Output {alias!r} has shape {list(value.shape)} for a batch of {rows} rows: the signature does not "
                "give a row for a row, so serve it without batching.",
            )
