"""What TFX's Trainer is given follows from the task when the stage runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.task_trainer.executor import trainer_properties
from trainer import tasks
from trainer.task import Task


def _properties(**changes: object) -> dict[str, Any]:
    given = {
        "run_fn": "f",
        "task": "mnist",
        "steps": tasks.TASK_DEFAULT,
        "train_examples": tasks.TASK_DEFAULT,
        "checkpoint_root": "/c",
    }
    return trainer_properties({**given, **changes})


def _task(properties: dict[str, Any]) -> Task:
    return Task.from_json(json.loads(properties["custom_config"])["task"])


def test_a_name_is_as_good_as_the_whole_task() -> None:
    assert _task(_properties()) == tasks.get("mnist")
    assert _properties(task=tasks.get("mnist").to_json()) == _properties()


def test_a_run_changes_what_it_names() -> None:
    properties = _properties(task="two_digit_mnist", steps=7, train_examples=11)
    assert _task(properties) == tasks.get("two_digit_mnist").with_steps(7).with_train_examples(11)
    assert json.loads(properties["train_args"]) == {"splits": ["train"], "num_steps": 7}


def test_an_unknown_task_is_told() -> None:
    with pytest.raises(ValueError, match="There is no task 'minst'"):
        _properties(task="minst")
