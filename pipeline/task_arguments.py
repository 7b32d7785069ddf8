"""What the stages are told of the task: values where it is known beforehand, parameters where each run says it."""

from __future__ import annotations

import dataclasses

from tfx.orchestration.data_types import RuntimeParameter

from trainer import tasks
from trainer.task import ErrorGate, Gate, Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskArguments:
    """One task, or any of one kind. The kind is no parameter: each has an evaluator of its own."""

    limit_name: str
    """By which a model is judged: the LIMIT of the gates of all these tasks."""
    task: Task | RuntimeParameter
    """A parameter is a task's name."""
    steps: int | RuntimeParameter = tasks.TASK_DEFAULT
    train_examples: int | RuntimeParameter = tasks.TASK_DEFAULT
    limit: float | RuntimeParameter
    """Of a model that may be pushed. Not the task's, for a model need not be trained again to be judged again."""
    tolerance: float | RuntimeParameter

    @classmethod
    def of(cls, task: Task, gate: Gate | ErrorGate) -> TaskArguments:
        """One task."""
        return cls(
            limit_name=gate.LIMIT,
            task=task,
            limit=getattr(gate, gate.LIMIT),
            tolerance=gate.tolerance,
        )

    @classmethod
    def of_each_run(
        cls, *, limit_name: str, task: str, steps: int, train_examples: int, limit: float, tolerance: float
    ) -> TaskArguments:
        """The task that a run names, among those that are judged alike; what it does not say is as given here."""
        return cls(
            limit_name=limit_name,
            task=RuntimeParameter("task", str, default=task),
            steps=RuntimeParameter("steps", int, default=steps),
            train_examples=RuntimeParameter("train_examples", int, default=train_examples),
            limit=RuntimeParameter(limit_name, float, default=float(limit)),
            tolerance=RuntimeParameter("tolerance", float, default=float(tolerance)),
        )
