"""What TFX's Trainer is given follows from the task when the stage runs."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from tfx import types
from tfx.types import standard_artifacts

from components.task_trainer import TaskTrainer, trainer_properties
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


def test_several_splits_may_be_trained_on() -> None:
    mnist = tasks.get("mnist")
    data = dataclasses.replace(mnist.data, train="train+validation", validation="test")
    properties = _properties(task=dataclasses.replace(mnist, data=data).to_json())
    assert json.loads(properties["train_args"])["splits"] == ["train", "validation"]
    assert json.loads(properties["eval_args"])["splits"] == ["test"]


def test_an_unknown_task_is_told() -> None:
    with pytest.raises(ValueError, match="There is no task 'minst'"):
        _properties(task="minst")


def test_the_cache_compares_the_initial_states_content_and_place_and_no_order() -> None:
    def key(initial_state: dict[str, str] | None) -> dict[str, object]:
        examples = types.Channel(type=standard_artifacts.Examples)
        trainer = TaskTrainer(
            examples=examples, run_fn="f", task=tasks.get("mnist"), checkpoint_root="/c", initial_state=initial_state
        )
        return trainer.exec_properties

    state = {"path": "/a.npz", "sha256": "0f"}
    assert key(state) == key({"sha256": "0f", "path": "/a.npz"})
    for other in (None, {**state, "path": "/b.npz"}, {**state, "sha256": "1f"}):
        assert key(other) != key(state)
