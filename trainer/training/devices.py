"""The host's devices, the strategy for them, and how a step is spread over CPU cores."""

from __future__ import annotations

import os
from collections.abc import Callable

import tensorflow as tf

from serving.cores import cores
from trainer.training import cluster
from trainer.training.tf_config import Cluster


def configure_threads() -> None:
    """Set TensorFlow's threads for this host, before anything else runs in TensorFlow.

    On CPU two slices of a batch, each on one thread, beat one batch on two threads (see `slices`). A runtime that has
    started already keeps its settings.
    """
    is_sliced = not accelerators() and _slices_pay()
    try:
        # TensorFlow itself would count the cores of the node, whatever a container may use of them.
        tf.config.threading.set_intra_op_parallelism_threads(1 if is_sliced else cores())
        tf.config.threading.set_inter_op_parallelism_threads(max(2, cores()))
    except RuntimeError:
        pass


def accelerators() -> list[str]:
    """List the kind of each accelerator that TensorFlow sees here, such as `GPU`."""
    return [device.device_type for device in tf.config.list_physical_devices() if device.device_type in ("GPU", "TPU")]


def strategy(report: Callable[[str], None] = lambda line: None) -> tf.distribute.Strategy:
    """Choose the strategy: the TPU in TPU_NAME, the cluster in TF_CONFIG, several GPUs or CPUs, or one device.

    There are several CPUs where the process has configured logical ones. In a cluster this reports that it waits for
    the other workers, and raises ValueError and WorkerLost as `Cluster` and `cluster.join` do.
    """
    if os.environ.get("TPU_NAME"):
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    if workers := Cluster.from_environment():
        minutes = cluster.JOIN_SECONDS // 60
        report(f"waiting for all {workers.size} workers of the cluster, for {minutes} minutes at most")
        return cluster.join(workers)
    for kind in ("GPU", "CPU"):
        devices = tf.config.list_logical_devices(kind)
        if len(devices) > 1:
            return tf.distribute.MirroredStrategy([device.name for device in devices])
        if devices:
            break
    return tf.distribute.get_strategy()


def slices(batch: int) -> int:
    """Number of slices of a replica's batch to run side by side."""
    if accelerators() or not _slices_pay():
        return 1
    return max(n for n in range(1, cores() + 1) if batch % n == 0 and (n == 1 or batch // n >= 16))


def _slices_pay() -> bool:
    # From TensorFlow 2.20 on XLA runs its own products on several threads, and one launch is as fast.
    major, minor = (int(part) for part in tf.__version__.split(".")[:2])
    return (major, minor) < (2, 20)
