"""One side of a comparison: a process that holds one task's compiled functions and times them when told to.

Reads a command a line from standard input and answers each with a line of JSON, so that two of these can take turns. It
keeps to what earlier revisions offer too, for `bench --against` runs it on one.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from trainer import draw, export, host, optimizer, randomness, step, tasks
from trainer.task import Task

Answer = dict[str, Any]


def plain_step(task: Task, x: tf.Tensor) -> Callable[[], tf.Tensor]:
    """The yardstick: the same equations by autodiff over the loop, without XLA, in one piece on default threads."""
    state = step.TrainState(task)

    @tf.function(autograph=False)
    def one() -> tf.Tensor:
        count, values = state.step.read_value(), state.read()
        eps = randomness.training_noise(task, count, x.shape[0])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values.parameters)
            loss = tf.reduce_mean(draw.infer(values.parameters, x, eps, task).nll_bound)
        new, _ = optimizer.update(task.recipe, count, values, tape.gradient(loss, values.parameters))
        state.assign(new)
        return loss

    return one


def trained_step(task: Task, x: tf.Tensor) -> Callable[[], tf.Tensor]:
    """The step as `loop.train` runs it, on the strategy of this host."""
    trainer = step.Trainer(task, host.strategy())
    batches = iter(tf.data.Dataset.from_tensors(x).repeat())
    return lambda: trainer.train(batches, 1).nll_bound


class Worker:
    """Its public methods are the commands."""

    def __init__(self, task: Task, variant: str) -> None:
        self.task = task
        rng = np.random.default_rng(0)
        x = rng.uniform(size=(task.recipe.batch_size, *task.image_shape)).astype(np.float32)
        self._x = tf.constant(np.round(x) if task.binary else x)
        self._step = (plain_step if variant == "plain" else trained_step)(task, self._x)

    def first(self) -> Answer:
        """Seconds of the first step, tracing and compiling included."""
        started = time.perf_counter()
        self._step().numpy()
        return {"seconds": time.perf_counter() - started}

    def step(self, count: int) -> Answer:
        """Milliseconds of each of so many steps."""
        return {"ms": [_milliseconds(lambda: self._step().numpy()) for _ in range(count)]}

    def matmul(self) -> Answer:
        """GFLOP/s of square float32 products, one on each core: the best of some, which the step is held against."""
        size, cores = 1_024, host.cores()
        a = tf.random.stateless_normal([size, size], [1, 2])
        with futures.ThreadPoolExecutor(cores) as threads:

            def products() -> None:
                for product in [threads.submit(lambda: tf.matmul(a, a).numpy()) for _ in range(4 * cores)]:
                    product.result()

            fastest = min(_milliseconds(products) for _ in range(8))
        return {"gflops": 4 * cores * 2 * size**3 / fastest / 1e6}

    def memory(self) -> Answer:
        """The most memory that this process has held, in MiB."""
        return {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}

    def sample(self, count: int) -> Answer:
        """Milliseconds of calls of the exported signature `sample` for so many images."""
        seeds = tf.constant([[0, index] for index in range(count)], tf.int64)
        return _latencies(lambda: self._signatures.sample(seeds)["image"].numpy())

    def score(self, count: int) -> Answer:
        """Milliseconds of calls of the exported signature `score` for so many images."""
        seeds = tf.constant([[0, index] for index in range(count)], tf.int64)
        images = tf.repeat(self._x[:1], count, axis=0)
        return _latencies(lambda: self._signatures.score(images, seeds)["nll_bound"].numpy())

    @functools.cached_property
    def _signatures(self) -> Any:
        with tempfile.TemporaryDirectory() as directory:
            export.export(self.task, draw.initial_parameters(self.task, 0), directory)
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
    """`python -m benchmarks.worker TASK VARIANT`, VARIANT being `plain` or `trained`."""
    name, variant = sys.argv[1:]
    if variant != "plain":
        host.configure_threads()
    worker = Worker(tasks.get(name), variant)
    print(json.dumps({"tensorflow": tf.__version__, "slices": host.slices(worker.task.recipe.batch_size)}), flush=True)
    for line in sys.stdin:
        command, *arguments = line.split()
        print(json.dumps(getattr(worker, command)(*map(int, arguments))), flush=True)


if __name__ == "__main__":
    main()
