"""The workers that train one model together: who they are, what the chief decides for all, and how one's loss ends."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

JOIN_SECONDS = 600
"""How long a worker waits at the start for all of the others."""

# What collectives end with when a worker has gone: which one depends on who notices first, and on what was under way.
_LOSSES = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class WorkerLost(RuntimeError):
    """Another worker has gone: this one cannot go on alone. All of them can be started again."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """More than one worker, as TF_CONFIG names them. The first is the chief, who alone validates and writes."""

    jobs: Mapping[str, tuple[str, ...]]
    """Addresses of `chief` and `worker`, whichever there are."""

    @property
    def size(self) -> int:
        """The number of workers, the chief included."""
        return sum(map(len, self.jobs.values()))

    @classmethod
    def from_environment(cls) -> Cluster | None:
        """The cluster that this process belongs to; None where it is to train alone.

        Raises ValueError for a TF_CONFIG that names no cluster that could train, or no place in it for this process.
        """
        text = os.environ.get("TF_CONFIG", "").strip() or "{}"
        try:
            config = json.loads(text)
            named = {kind: tuple(addresses) for kind, addresses in config.get("cluster", {}).items() if addresses}
            task = config.get("task", {})
            kind, index = task.get("type"), int(task.get("index", 0))
        except (AttributeError, TypeError, ValueError) as error:
            raise _malformed("it cannot be read", error) from error
        jobs = {kind: named[kind] for kind in ("chief", "worker") if kind in named}
        addresses = [address for group in jobs.values() for address in group]
        if kind == "evaluator":
            raise _malformed("this process is an 'evaluator', and the chief validates: start its workers alone")
        if set(named) - {"chief", "worker", "evaluator"}:
            raise _malformed(f"it names {', '.join(map(repr, named))}, and only 'chief' and 'worker' train")
        if len(addresses) < 2:
            return None
        wrong = [address for address in addresses if not re.fullmatch(r"\S+:\d+", str(address))]
        if wrong or len(set(addresses)) < len(addresses):
            raise _malformed(f"each worker needs an address of its own, HOST:PORT; it has {', '.join(addresses)}")
        if len(jobs.get("chief", ())) > 1:
            raise _malformed("there can be one 'chief'")
        if not 0 <= index < len(jobs.get(kind, ())):
            raise _malformed(f"it says that this process is {kind!r} number {index}, and its cluster has none such")
        return cls(jobs)

    def join(self) -> tf.distribute.MultiWorkerMirroredStrategy:
        """Waits for the others and returns the strategy of them all: NCCL between GPUs, rings of gRPC between CPUs.

        TensorFlow must not have run anything yet. Raises WorkerLost where another goes at once; SIGALRM ends the
        process where not all come within JOIN_SECONDS.
        """
        # TensorFlow would wait for an hour, deaf to Python and to SIGTERM: the kernel ends the process before.
        signal.alarm(JOIN_SECONDS)
        terminate = signal.getsignal(signal.SIGTERM)
        with _told("The cluster did not come together."):
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        signal.alarm(0)
        # TensorFlow has made SIGTERM the notice of a preemption, which nobody here looks for.
        signal.signal(signal.SIGTERM, terminate)
        return strategy


def is_cluster(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes train the same model."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes what is written; always so where there is one."""
    return bool(strategy.extended.should_checkpoint)


def from_chief(strategy: tf.distribute.Strategy, values: Any) -> Any:
    """The chief's numbers on every worker, all of which call this with the same structure and shapes, and wait here.

    Where a process trains alone they are its own.
    """
    if not is_cluster(strategy):
        return values
    tensors = tf.nest.map_structure(tf.convert_to_tensor, values)
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), _broadcast(strategy)(tensors))


def end_together(strategy: tf.distribute.Strategy) -> None:
    """Waits until the chief calls this too. The chief waits for all, but has no more need of one that is lost."""
    with (
        contextlib.suppress(WorkerLost) if is_chief(strategy) else contextlib.nullcontext(),
        translate_losses(strategy),
    ):
        from_chief(strategy, 0)


@contextlib.contextmanager
def translate_losses(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Raises WorkerLost for what TensorFlow raises within when another worker has gone."""
    lost = "Another worker of the cluster is lost, and training cannot go on without it."
    with _told(lost) if is_cluster(strategy) else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _told(lost: str) -> Iterator[None]:
    try:
        yield
    except _LOSSES as error:
        lines = error.message.splitlines()
        reason = next((line for line in lines if "ollective" in line or "task:" in line), error.message)
        raise WorkerLost(
            f"{lost} Start all workers again with the same settings: training goes on from the last checkpoint. "
            f"TensorFlow says: {reason}"
        ) from error


@functools.lru_cache(maxsize=1)
def _broadcast(strategy: tf.distribute.Strategy) -> Callable[[Any], Any]:
    def of_replica(values: Any) -> Any:
        replica = tf.distribute.get_replica_context()
        first = tf.equal(replica.replica_id_in_sync_group, 0)

        def chiefs(value: tf.Tensor) -> tf.Tensor:
            # A sum with zeros: strategies have no broadcast.
            own = tf.where(first, value, tf.zeros_like(value))
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, own)

        return tf.nest.map_structure(chiefs, values)

    def broadcast(values: Any) -> Any:
        summed = strategy.run(of_replica, (values,))
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], summed)

    return tf.function(broadcast, autograph=False)


def _malformed(problem: str, error: Exception | None = None) -> ValueError:
    detail = f" ({error})" if error else ""
    return ValueError(
        f"TF_CONFIG: {problem}{detail}. A worker is started with, for example, "
        '{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, "task": {"type": "worker", "index": 0}}.'
    )
