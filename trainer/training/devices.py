"""What the host has: its devices, the strategy that uses them, and how one step is spread over CPU cores."""

from __future__ import annotations

import os
from collections.abc import Callable

import tensorflow as tf

from trainer.training.cluster import JOIN_SECONDS, Cluster


def configure_threads() -> None:
    """Sets TensorFlow's threads for this host; call it before anything else runs in TensorFlow.

    On CPU two slices of a batch, each on one thread, beat one batch on two threads (see `slices`). Where the runtime
    has started already, in somebody else's process, its settings stay.
    """
    if accelerators() or not _slices_pay():
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(max(2, cores()))
    except RuntimeError:
        pass


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def accelerators() -> list[str]:
    """The kinds of accelerator that TensorFlow sees here, one entry a device."""
    return [device.device_type for device in tf.config.list_physical_devices() if device.device_type in ("GPU", "TPU")]


def strategy(report: Callable[[str], None] = lambda line: None) -> tf.distribute.Strategy:
    """The strategy for a TPU named by TPU_NAME, a cluster named by TF_CONFIG, several GPUs or CPUs, or one device.

    CPUs are several where the process has made logical ones. In a cluster this waits for the other workers, says so to
    `report`, and raises ValueError and WorkerLost as `Cluster` does.
    """
    if os.environ.get("TPU_NAME"):
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    if workers := Cluster.from_environment():
        report(f"waiting for all {workers.size} workers of the cluster, for {JOIN_SECONDS // 60} minutes at most")
        return workers.join()
    for kind in ("GPU", "CPU"):
        devices = tf.config.list_logical_devices(kind)
        if len(devices) > 1:
            return tf.distribute.MirroredStrategy([device.name for device in devices])
        if devices:
            break
    return tf.distribute.get_strategy()


def slices(batch: int) -> int:
    """Into how many slices that run side by side a replica's batch is cut."""
    if accelerators() or not _slices_pay():
        return 1
    return max(n for n in range(1, cores() + 1) if batch % n == 0 and (n == 1 or batch // n >= 16))


def _slices_pay() -> bool:
    # From TensorFlow 2.20 on XLA runs its own products on several threads, and one launch is as fast.
    major, minor = (int(part) for part in tf.__version__.split(".")[:2])
    return (major, minor) < (2, 20)
