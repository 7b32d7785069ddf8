"""The compiled training step, and the tf.function that runs many of them a call on any strategy."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainer.task import Task
from trainer.training import devices, objective, optimizer, recurrence

_DEFER_FROM = 2_000_000
"""Weights from which on their gradients are deferred. On two cores at T = 64 and 32, batch 100, that was 15% slower
with 0.96 million of them, and 15 to 25% faster with 2.7 and 11 million."""


class StepMetrics(NamedTuple):
    """Means over the steps of one call."""

    means: objective.Metrics
    gradient_norm: tf.Tensor

    @property
    def loss(self) -> tf.Tensor:
        """What is minimised: the first of the objective's metrics."""
        return self.means[0]


class TrainState(tf.Module):
    """All that a checkpoint holds: the weights, the optimizer's moments, the average of the weights, the steps done.

    Under a strategy each replica keeps a copy of its own, updated by the same numbers: no variable is ever sent.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(name="train_state")
        initial = objective.for_task(task).initial_weights(task.recipe.seed)
        zeros = {name: tf.zeros_like(value) for name, value in initial.items()}
        self.parameters = _variables(initial)
        self.first_moment = _variables(zeros)
        self.second_moment = _variables(zeros)
        self.average = _variables(initial)
        self.step = _variable(tf.zeros([], tf.int64), "step")

    def read(self) -> optimizer.Optimised:
        """Reads the variables, each once."""
        return optimizer.Optimised.from_flat({name: v.read_value() for name, v in self._groups().flat().items()})

    def assign(self, new: optimizer.Optimised) -> None:
        """Writes the values back and counts the step."""
        values = new.flat()
        for name, variable in self._groups().flat().items():
            variable.assign(values[name])
        self.step.assign_add(1)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by the names that `load` takes: `parameters/encoder/w`, ..., and `step`."""
        return {name: v.numpy() for name, v in self._groups().flat().items()} | {"step": self.step.numpy()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Assigns every variable from `arrays`; raises ValueError, and assigns none, where they are another model's."""
        variables = {**self._groups().flat(), "step": self.step}
        _check_shapes(arrays, variables, "a training state")
        for name, variable in variables.items():
            variable.assign(arrays[name])

    def load_weights(self, weights: Mapping[str, np.ndarray]) -> None:
        """Starts from the weights of a model; raises ValueError, and assigns none, where they are another model's."""
        _check_shapes(weights, self.parameters, "the weights")
        for name, value in weights.items():
            self.parameters[name].assign(value)
            self.average[name].assign(value)

    def _groups(self) -> optimizer.Optimised:
        return optimizer.Optimised(self.parameters, self.first_moment, self.second_moment, self.average)

    def exported(self, task: Task) -> dict[str, tf.Tensor]:
        """The weights that are evaluated and exported: the moving average, or the last ones without averaging."""
        group = self.average if task.recipe.ema_decay else self.parameters
        return {name: variable.read_value() for name, variable in group.items()}


class Trainer:
    """Runs training steps of one task on one strategy, all with one number of glimpses."""

    def __init__(
        self, task: Task, strategy: tf.distribute.Strategy, *, step: int = 0, state: TrainState | None = None
    ) -> None:
        """Compiles for the glimpses that the recipe takes at `step`; `state` is a new one unless it is given."""
        self.task = task
        self.strategy = strategy
        phase = task.at_step(step)
        self.glimpses = phase.glimpses
        self.objective = objective.for_task(phase)
        if state is None:
            with strategy.scope():
                state = TrainState(task)
        self.state = state
        compiled = functools.partial(tf.function, jit_compile=task.recipe.jit_compile or None, autograph=False)
        self._gradients = compiled(functools.partial(gradients, self.objective, scan=scan_for(task)))
        self._update = compiled(functools.partial(optimizer.update, task))
        self._metrics = compiled(self.objective.metrics)
        self._train = tf.function(self._train_steps, autograph=False)

    def at(self, step: int) -> Trainer:
        """A trainer of the same state for the glimpses of that step: this one, where they are the same."""
        if self.task.at_step(step).glimpses == self.glimpses:
            return self
        return Trainer(self.task, self.strategy, step=step, state=self.state)

    def train(self, batches: Iterator[objective.Tensors], steps: int) -> StepMetrics:
        """Runs `steps` steps on the next batches of a (distributed) iterator and returns their means."""
        return self._train(batches, tf.constant(steps))

    def validate(self, batches: list[tuple[objective.Tensors, tf.Tensor]]) -> objective.Metrics:
        """Means over batches with their examples' ids, by the weights that would be exported; in plain numbers.

        An example's noise comes from its id, so these are the metrics that the exported model gives.
        """
        weights = self.state.exported(self.task)
        rows, totals = 0, None
        for batch, ids in batches:
            metrics = self._metrics(weights, batch, self.objective.evaluation_noise(ids))
            sums = tf.nest.map_structure(lambda value: value.numpy().sum(axis=0, dtype=np.float64), metrics)
            totals = sums if totals is None else tf.nest.map_structure(np.add, totals, sums)
            rows += int(ids.shape[0])
        return tf.nest.map_structure(lambda total: (total / rows).tolist(), totals)

    def _train_steps(self, batches: Iterator[objective.Tensors], steps: tf.Tensor) -> StepMetrics:
        def body(i: tf.Tensor, totals: StepMetrics) -> tuple[tf.Tensor, StepMetrics]:
            per_replica = self.strategy.run(self._step, (next(batches),))
            metrics = tf.nest.map_structure(
                lambda value: self.strategy.experimental_local_results(value)[0], per_replica
            )
            return i + 1, tf.nest.map_structure(tf.add, totals, metrics)

        zero = StepMetrics(self.objective.zero_metrics(), tf.zeros([]))
        _, totals = tf.while_loop(lambda i, _: i < steps, body, (tf.constant(0), zero))
        return tf.nest.map_structure(lambda total: total / tf.cast(steps, tf.float32), totals)

    def _step(self, batch: objective.Tensors) -> StepMetrics:
        """One step of one replica on its rows of the global batch; the metrics are those of all of it."""
        replica = tf.distribute.get_replica_context()
        rows, replicas = tf.nest.flatten(batch)[0].shape[0], replica.num_replicas_in_sync
        step, state = self.state.step.read_value(), self.state.read()
        # Drawn for the global batch and cut, so that the noise does not depend on the number of devices.
        noise = self.objective.training_noise(step, rows * replicas)
        if replicas > 1:
            first = replica.replica_id_in_sync_group * rows
            noise = tf.nest.map_structure(
                lambda value: tf.ensure_shape(value[:, first:][:, :rows], [value.shape[0], rows, *value.shape[2:]]),
                noise,
            )
        count = devices.slices(rows)
        results = [
            self._gradients(state.parameters, *part)
            for part in zip(_cut(batch, count, axis=0), _cut(noise, count, axis=1), strict=True)
        ]
        mean, metrics = tf.nest.map_structure(lambda *parts: tf.add_n(parts) / (count * replicas), *results)
        if replicas > 1:
            mean, metrics = replica.all_reduce(tf.distribute.ReduceOp.SUM, (mean, metrics))
        new, norm = self._update(step, state, mean)
        self.state.assign(new)
        return StepMetrics(metrics, norm)


def gradients(
    learned: objective.Objective,
    weights: dict[str, tf.Tensor],
    batch: objective.Tensors,
    noise: objective.Tensors,
    *,
    scan: objective.Scan,
) -> tuple[dict[str, tf.Tensor], objective.Metrics]:
    """Gradients of the loss's mean over the rows of a batch, and the means of all metrics. Pure; shapes are static."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        metrics = learned.metrics(weights, batch, noise, scan)
        loss = tf.reduce_mean(metrics[0])
    return tape.gradient(loss, weights), tf.nest.map_structure(lambda value: tf.reduce_mean(value, axis=0), metrics)


def _check_shapes(arrays: Mapping[str, np.ndarray], variables: Mapping[str, tf.Variable], what: str) -> None:
    shapes = {name: tuple(value.shape) for name, value in arrays.items()}
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    wrong = sorted(name for name in expected | shapes if shapes.get(name) != expected.get(name))
    if wrong:
        name = wrong[0]
        raise ValueError(
            f"This is not {what} of this task: {len(wrong)} of its arrays differ. The first is {name!r}: found shape "
            f"{shapes.get(name, 'none')}, expected {expected.get(name, 'no such array')}."
        )


def _cut(values: objective.Tensors, count: int, *, axis: int) -> list[objective.Tensors]:
    """`count` equal parts of every tensor along the axis of its rows."""
    parts = [tf.split(value, count, axis=axis) for value in tf.nest.flatten(values)]
    return [tf.nest.pack_sequence_as(values, [part[index] for part in parts]) for index in range(count)]


def scan_for(task: Task) -> objective.Scan:
    """The faster of two ways to the same gradient, by which the task's recurrence is run while training.

    Autodiff passes over the gradients of all weights at every time-step, the deferred way over the inputs and outputs
    of all layers once more. Which is less follows from the sizes of the model.
    """
    matmul_dtype = None if task.recipe.matmul_dtype == "float32" else tf.as_dtype(task.recipe.matmul_dtype)
    weights = sum(
        shape[0] * shape[1] for name, shape in objective.for_task(task).weight_shapes().items() if name.endswith("/w")
    )
    scan = recurrence.scan_deferred if weights >= _DEFER_FROM else recurrence.scan
    return functools.partial(scan, matmul_dtype=matmul_dtype)


def _variables(values: dict[str, tf.Tensor]) -> dict[str, tf.Variable]:
    return {name: _variable(value, name) for name, value in values.items()}


def _variable(value: tf.Tensor, name: str) -> tf.Variable:
    return tf.Variable(
        value,
        trainable=False,
        name=name,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )
