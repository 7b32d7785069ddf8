"""What the stages are told of the task: values where it is known beforehand, parameters where each run says it."""

from __future__ import annotations

import dataclasses

from tfx.orchestration.data_types import RuntimeParameter

from trainer import tasks
from trainer.task import ErrorGate, Gate, Task

MAX_NLL_BOUND = "max_nll_bound"
MAX_ERROR = "max_error"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskArguments:
    """One task, or any of one kind. The kind is no parameter: each has an evaluator of its own."""

    judged_by: str
    """MAX_NLL_BOUND of generative tasks, MAX_ERROR of classifiers."""
    name: str | RuntimeParameter
    ingested: Task | RuntimeParameter
    """A parameter is the task's name, here and below."""
    trained: str | RuntimeParameter
    """As JSON where it is known, for the cache's key is to hold the whole task."""
    steps: int | RuntimeParameter = tasks.OWN
    train_examples: int | RuntimeParameter = tasks.OWN
    greatest: float | RuntimeParameter
    """Of a model that may be pushed. Not the task's, for a model need not be trained again to be judged again."""
    tolerance: float | RuntimeParameter

    @classmethod
    def of(cls, task: Task, gate: Gate | ErrorGate) -> TaskArguments:
        """One task."""
        classifies = isinstance(gate, ErrorGate)
        return cls(
            judged_by=MAX_ERROR if classifies else MAX_NLL_BOUND,
            name=task.name,
            ingested=task,
            trained=task.to_json(),
            greatest=gate.max_error if isinstance(gate, ErrorGate) else gate.max_nll_bound,
            tolerance=gate.tolerance,
        )

    @classmethod
    def of_each_run(cls, judged_by: str, default_task: str) -> TaskArguments:
        """The task that a run names, among those that are judged alike; and of it what the run does not leave to it."""
        task = RuntimeParameter("task", str, default=default_task)
        return cls(
            judged_by=judged_by,
            name=task,
            ingested=task,
            trained=task,
            steps=RuntimeParameter("steps", int, default=tasks.OWN),
            train_examples=RuntimeParameter("train_examples", int, default=tasks.OWN),
            greatest=RuntimeParameter(judged_by, float, default=float(tasks.OWN)),
            tolerance=RuntimeParameter("tolerance", float, default=float(tasks.OWN)),
        )
