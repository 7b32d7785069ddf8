"""How long a training step takes on this host, by taking some."""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

from trainer.task import ClassifyingTask, Task
from trainer.training import devices, step

STEPS = 2


def seconds_per_step(task: Task) -> float:
    """Compile the step of the last phase, which has the most glimpses, and time STEPS of it on random images."""
    strategy = devices.strategy()
    batch = task.recipe.batch_size
    random = np.random.default_rng(0)
    x = tf.constant(random.random((batch, *task.image_shape), np.float32))
    inputs = (x, tf.constant(random.integers(0, task.classes, batch))) if isinstance(task, ClassifyingTask) else x
    batches = tf.data.Dataset.from_tensors(inputs).repeat()
    trainer = step.Trainer(task.with_constant_glimpses(), strategy)
    iterator = iter(strategy.experimental_distribute_dataset(batches))
    trainer.train(iterator, 1).loss.numpy()
    started = time.perf_counter()
    trainer.train(iterator, STEPS).loss.numpy()
    return (time.perf_counter() - started) / STEPS
