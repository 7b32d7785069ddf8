"""Options that a local run and a compiled pipeline share: what is trained, and what a model must reach."""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated

from pipeline.option_fields import Option
from serving.cli.place_options import images_of_a_task
from trainer import task_file
from trainer.task import CLASSIFIER, GENERATIVE, ErrorGate, Gate, ImageFiles, Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskOption:
    """The choice of a task. Raises ValueError for an unknown name, and for a file or a value that makes no task."""

    task_name: Annotated[
        str, Option("A name, see `draw tasks`, or a task file, see `draw init`.", flag="--task", is_place=True)
    ] = "digits"
    task_values: Annotated[
        tuple[str, ...],
        Option(
            "Set a value of the task, such as recipe.steps=20000; may be repeated.", flag="--set", metavar="PATH=VALUE"
        ),
    ] = ()

    def __post_init__(self) -> None:
        _ = self.task

    @functools.cached_property
    def task(self) -> Task:
        """The task of that name or file, with the values that are set."""
        return task_file.load(self.task_name, self.task_values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingOptions(TaskOption):
    """Size of the training and thresholds of the gate; None leaves a value as the task has it."""

    steps: Annotated[int | None, Option("Training steps.  [default: the task's]", range=(0, 2**31 - 1))] = None
    train_examples: Annotated[
        int | None,
        Option(
            "Training images that are made, of a task that composes them of digits.  [default: the task's]",
            range=(1, 10_000_000),
        ),
    ] = None
    max_nll_bound: Annotated[
        float | None,
        Option(
            "The greatest bound, in nats an image, of a model that may be pushed.  [default: the task's]",
            range=(0, 1e9),
        ),
    ] = None
    max_error: Annotated[
        float | None,
        Option(
            "The greatest error, from 0 to 1, of a classifier that may be pushed.  [default: the task's]", range=(0, 1)
        ),
    ] = None
    score_samples: Annotated[
        int | None,
        Option(
            "Score each image of the test split with so many samples, as a last stage.  [default: no such stage]",
            range=(1, 1_000_000),
        ),
    ] = None

    def check_images(self) -> None:
        """Raises ValueError if nothing that is installed opens the place of a user's own images."""
        if isinstance(self.task.data, ImageFiles):
            images_of_a_task(self.task.data.images)

    @functools.cached_property
    def gate(self) -> Gate | ErrorGate:
        """The task's gate with the user's threshold. Raises ValueError for the threshold of another kind of task."""
        task, kind = self.task, self.task.kind
        for other in (GENERATIVE, CLASSIFIER):
            if other is not kind and getattr(self, other.limit) is not None:
                raise ValueError(
                    f"{task.name} is a {kind.noun}, which has no {other.metric_noun}: give the greatest "
                    f"{kind.metric_noun} instead."
                )
        limit = getattr(self, kind.limit)
        return task.gate if limit is None else dataclasses.replace(task.gate, **{kind.limit: limit})

    def check_score_samples(self) -> None:
        """Raises ValueError where the test images cannot be scored with so many samples."""
        if self.score_samples is not None and (self.score_samples < 1 or self.task.kind is CLASSIFIER):
            raise ValueError(
                f"Got {self.score_samples} samples to score of each image of {self.task.name}: give at least 1, of a "
                "generative task, or none for no such stage."
            )
