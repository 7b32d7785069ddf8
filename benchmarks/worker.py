"""One side of a comparison: a process that compiles one task's functions and times them on command.

Reads a command a line from standard input and answers each with a line of JSON, so that sides can take turns. `bench
--against` runs an earlier revision's worker too, so commands and answers stay as they are.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks.bench import comparable
from trainer import tasks
from trainer.export import exporter
from trainer.model import draw
from trainer.task import Binarisation
from trainer.training import devices, input_pipeline, optimizer, randomness, step

Answer = dict[str, Any]


def plain_step(task: Any, batch: Any) -> Callable[[], tf.Tensor]:
    """Build the baseline step: the same equations by autodiff, without XLA, in one piece on default threads."""
    state = step.TrainState(task)

    def losses(parameters: dict[str, tf.Tensor], count: tf.Tensor) -> tf.Tensor:
        if isinstance(batch, tuple):
            from trainer.model import ram

            logits = ram.classify(parameters, batch[0], task).logits
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=batch[1], logits=logits)
        eps = randomness.training_noise(task, count, batch.shape[0])
        return draw.infer(parameters, batch, eps, task).nll_bound

    @tf.function(autograph=False)
    def one() -> tf.Tensor:
        count, values = state.step.read_value(), state.read()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values.parameters)
            loss = tf.reduce_mean(losses(values.parameters, count))
        new, _ = optimizer.update(task, count, values, tape.gradient(loss, values.parameters))
        state.assign(new)
        return loss

    return one


def trained_step(task: Any, batch: Any) -> Callable[[], tf.Tensor]:
    """Build the step as `loop.train` runs it, on this host's strategy."""
    trainer = step.Trainer(task, devices.strategy())
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    return lambda: trainer.train(batches, 1).gradient_norm


class Worker:
    """The compiled functions of one task; the public methods are the commands."""

    def __init__(self, task: Any, variant: str) -> None:
        self.task = task
        rng = np.random.default_rng(0)
        x = rng.uniform(size=(task.recipe.batch_size, *task.image_shape)).astype(np.float32)
        self._x = tf.constant(np.round(x) if task.binary else x)
        self._classes = getattr(task, "classes", 0)
        batch = self._x
        if self._classes:
            batch = (self._x, tf.constant(rng.integers(0, self._classes, task.recipe.batch_size)))
        self._step = (plain_step if variant == "plain" else trained_step)(task, batch)

    def first(self) -> Answer:
        """Measure the seconds of the first step, tracing and compiling included."""
        started = time.perf_counter()
        self._step().numpy()
        return {"seconds": time.perf_counter() - started}

    def step(self, count: int) -> Answer:
        """Measure the milliseconds of each of `count` steps."""
        return {"ms": [_milliseconds(lambda: self._step().numpy()) for _ in range(count)]}

    def matmul(self) -> Answer:
        """Measure the GFLOP/s of square float32 products on all cores, the best of some: the step's yardstick."""
        size, cores = 1_024, devices.cores()
        a = tf.random.stateless_normal([size, size], [1, 2])
        with futures.ThreadPoolExecutor(cores) as threads:

            def products() -> None:
                for product in [threads.submit(lambda: tf.matmul(a, a).numpy()) for _ in range(4 * cores)]:
                    product.result()

            fastest = min(_milliseconds(products) for _ in range(8))
        return {"gflops": 4 * cores * 2 * size**3 / fastest / 1e6}

    def input(self, count: int) -> Answer:
        """Measure the share of time that `count` steps wait for the pipeline's reader.

        It is TensorFlow's profile of `IteratorGetNext` over the time of the call.
        """
        with tempfile.TemporaryDirectory() as directory:
            batches = iter(input_pipeline.training_batches(self._example_files(directory), self.task, first_step=0))
            trainer = step.Trainer(self.task, devices.strategy())
            trainer.train(batches, 2)
            tf.profiler.experimental.start(directory)
            milliseconds = _milliseconds(lambda: trainer.train(batches, count).gradient_norm.numpy())
            tf.profiler.experimental.stop()
            (path,) = Path(directory).glob("plugins/profile/*/*.xplane.pb")
            space = xplane_pb2.XSpace.FromString(path.read_bytes())
        waited = 0.0
        for plane in space.planes:
            names = {key: value.name for key, value in plane.event_metadata.items()}
            for line in plane.lines:
                waited += sum(e.duration_ps for e in line.events if names[e.metadata_id].startswith("IteratorGetNext"))
        return {"wait_percent": waited / 1e9 / milliseconds * 100, "step_ms": milliseconds / count}

    def _example_files(self, directory: str) -> list[str]:
        """Write examples as ingestion does, of random pixels and of the stored shape."""
        path = f"{directory}/examples.gz"
        highest = 255 if self.task.training_binarisation is Binarisation.NONE else 1
        shape = (20 * self.task.recipe.batch_size, *self.task.stored_shape)
        images = np.random.default_rng(1).integers(0, highest + 1, shape, np.uint8)
        with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for index, image in enumerate(images):
                values = {"image": image.tobytes(), "id": str(index).encode()}
                feature = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
                if self._classes:
                    label = tf.train.Int64List(value=[index % self._classes])
                    feature["label"] = tf.train.Feature(int64_list=label)
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
        return [path]

    def memory(self) -> Answer:
        """Measure this process's peak memory in MiB."""
        return {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}

    def sample(self, count: int) -> Answer:
        """Measure calls of the exported signature `sample` for `count` images, in milliseconds."""
        seeds = tf.constant([[0, index] for index in range(count)], tf.int64)
        return _latencies(lambda: self._signatures.sample(seeds)["image"].numpy())

    def score(self, count: int) -> Answer:
        """Measure calls of the exported signature `score`, or `classify`, for `count` images, in milliseconds."""
        seeds = tf.constant([[0, index] for index in range(count)], tf.int64)
        images = tf.repeat(self._x[:1], count, axis=0)
        if self._classes:
            return _latencies(lambda: self._signatures.classify(images)["label"].numpy())
        return _latencies(lambda: self._signatures.score(images, seeds)["nll_bound"].numpy())

    @functools.cached_property
    def _signatures(self) -> Any:
        with tempfile.TemporaryDirectory() as directory:
            weights = step.TrainState(self.task).exported(self.task)
            exporter.export(self.task, {name: value.numpy() for name, value in weights.items()}, directory)
            return tf.saved_model.load(directory)


def _latencies(call: Callable[[], Any]) -> Answer:
    call()
    call()
    return {"ms": [_milliseconds(call) for _ in range(12)]}


def _milliseconds(function: Callable[[], Any]) -> float:
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    """Run `python -m benchmarks.worker TASK VARIANT`, VARIANT being `plain`, `trained` or `bfloat16`."""
    name, variant = sys.argv[1:]
    task = comparable(tasks.get(name))
    if variant == "bfloat16":
        task = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, matmul_dtype=variant))
    if variant != "plain":
        devices.configure_threads()
    worker = Worker(task, variant)
    print(
        json.dumps({"tensorflow": tf.__version__, "slices": devices.slices(worker.task.recipe.batch_size)}), flush=True
    )
    for line in sys.stdin:
        command, *arguments = line.split()
        print(json.dumps(getattr(worker, command)(*map(int, arguments))), flush=True)


if __name__ == "__main__":
    main()
