"""The task as the stages receive it: values known beforehand, or parameters that each run sets."""

from __future__ import annotations

import dataclasses

from tfx.orchestration.data_types import RuntimeParameter

from trainer import tasks
from trainer.task import ErrorGate, Gate, Kind, Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskArguments:
    """One task, or any task of one kind. The kind is fixed, for each has an evaluator of its own."""

    kind: Kind
    task: Task | RuntimeParameter
    """The task itself, or a parameter that holds its name or its JSON."""
    steps: int | RuntimeParameter = tasks.TASK_DEFAULT
    train_examples: int | RuntimeParameter = tasks.TASK_DEFAULT
    limit: float | RuntimeParameter
    """Most that a pushed model may have. Apart from the task, so that a model can be judged again untrained."""
    tolerance: float | RuntimeParameter
    """Most by which a pushed model may be worse than the baseline."""

    @classmethod
    def for_task(cls, task: Task, gate: Gate | ErrorGate) -> TaskArguments:
        """One task, judged by a gate that need not be its own."""
        limit = getattr(gate, task.kind.limit)
        return cls(
            kind=task.kind,
            task=task,
            # No limit can only be the task's own: an execution's property has no None.
            limit=tasks.TASK_DEFAULT if limit is None else limit,
            tolerance=gate.tolerance,
        )

    @classmethod
    def for_each_run(
        cls, *, kind: Kind, task: str, steps: int, train_examples: int, limit: float, tolerance: float
    ) -> TaskArguments:
        """Runtime parameters with these defaults, by which a run names a task of the kind."""
        return cls(
            kind=kind,
            task=RuntimeParameter("task", str, default=task),
            steps=RuntimeParameter("steps", int, default=steps),
            train_examples=RuntimeParameter("train_examples", int, default=train_examples),
            limit=RuntimeParameter(kind.limit, float, default=float(limit)),
            tolerance=RuntimeParameter("tolerance", float, default=float(tolerance)),
        )
