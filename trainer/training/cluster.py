"""Workers that train one model together: how they meet, the chief's broadcasts, and the loss of one."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from trainer.training.tf_config import Cluster

JOIN_SECONDS = 600
"""How long a worker waits at the start for all others."""

_NO_PROXY = "no_grpc_proxy"
"""The variable of the hosts that gRPC, and nothing else, connects to itself; as gRPC spells it."""

# What collectives raise when a worker has gone; which one depends on who notices first and on what was under way.
_LOSSES = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class WorkerLost(RuntimeError):
    """Another worker has gone, and this one cannot go on alone. All can be started again."""


def join(workers: Cluster) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Wait for the other workers and return the strategy of all: NCCL between GPUs, rings of gRPC between CPUs.

    TensorFlow must not have run anything yet. Raises WorkerLost where another goes at once; SIGALRM ends the process
    where not all come within JOIN_SECONDS.
    """
    _leave_out_proxies(workers)
    # TensorFlow would wait for an hour, deaf to Python and to SIGTERM: the kernel ends the process before.
    signal.alarm(JOIN_SECONDS)
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        with _raise_worker_lost("The cluster did not come together."):
            return tf.distribute.MultiWorkerMirroredStrategy()
    finally:
        signal.alarm(0)
        # TensorFlow has made SIGTERM the notice of a preemption, which nobody here looks for.
        signal.signal(signal.SIGTERM, terminate)


def _leave_out_proxies(workers: Cluster) -> None:
    """Make gRPC connect to the workers themselves, where the environment has a proxy (http_proxy and its like).

    A proxy knows nothing of this cluster's ports, least of all of those on its own host: all would wait in silence.
    Storage, which does not go over gRPC, keeps the proxy.
    """
    kept = os.environ.get(_NO_PROXY) or os.environ.get("no_proxy")
    hosts = dict.fromkeys(address.rpartition(":")[0].strip("[]") for address in workers.addresses)
    os.environ[_NO_PROXY] = ",".join(filter(None, [kept, *hosts]))


def is_cluster(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes train the same model."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process validates and writes; always so for one that trains alone."""
    return bool(strategy.extended.should_checkpoint)


def from_chief(strategy: tf.distribute.Strategy, values: Any) -> Any:
    """Return the chief's numbers on every worker; the process's own where it trains alone.

    All workers call this with the same structure and shapes, and wait here for one another.
    """
    if not is_cluster(strategy):
        return values
    tensors = tf.nest.map_structure(tf.convert_to_tensor, values)
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), _broadcast(strategy)(tensors))


def end_together(strategy: tf.distribute.Strategy) -> None:
    """Wait until the chief calls this too. The chief waits for all, but no longer needs one that is lost."""
    with (
        contextlib.suppress(WorkerLost) if is_chief(strategy) else contextlib.nullcontext(),
        translate_losses(strategy),
    ):
        from_chief(strategy, 0)


@contextlib.contextmanager
def translate_losses(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Raise WorkerLost in place of TensorFlow's errors when another worker has gone."""
    lost = "Another worker of the cluster is lost, and training cannot go on without it."
    with _raise_worker_lost(lost) if is_cluster(strategy) else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _raise_worker_lost(what: str) -> Iterator[None]:
    try:
        yield
    except _LOSSES as error:
        lines = error.message.splitlines()
        reason = next((line for line in lines if "ollective" in line or "task:" in line), error.message)
        raise WorkerLost(
            f"{what} Start all workers again with the same settings: training goes on from the last checkpoint. "
            f"TensorFlow says: {reason}"
        ) from error


@functools.lru_cache(maxsize=1)
def _broadcast(strategy: tf.distribute.Strategy) -> Callable[[Any], Any]:
    def in_replica(values: Any) -> Any:
        replica = tf.distribute.get_replica_context()
        is_first = tf.equal(replica.replica_id_in_sync_group, 0)
        # A sum with zeros: strategies have no broadcast.
        return tf.nest.map_structure(
            lambda value: replica.all_reduce(
                tf.distribute.ReduceOp.SUM, tf.where(is_first, value, tf.zeros_like(value))
            ),
            values,
        )

    def broadcast(values: Any) -> Any:
        summed = strategy.run(in_replica, (values,))
        return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], summed)

    return tf.function(broadcast, autograph=False)
