"""A run whose parameters cannot be ends in its first stage, with one line that says which and what could be."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.parameter_check import Executor
from trainer import tasks


def _check(**changes: object) -> None:
    parameters = {
        "limit_name": "max_nll_bound",
        "task": "digits",
        "steps": tasks.TASK_DEFAULT,
        "train_examples": tasks.TASK_DEFAULT,
        "limit": float(tasks.TASK_DEFAULT),
        "tolerance": float(tasks.TASK_DEFAULT),
        "data_dir": "",
        "checkpoint_root": "/mnt/checkpoints",
        "serving_dir": "/mnt/serving/{task}",
    }
    assert not set(changes) - set(parameters)
    Executor().Do({}, {}, {**parameters, **changes})


@pytest.mark.parametrize("name", tasks.NAMES)
def test_each_task_is_one_of_its_own_pipeline_alone(name: str) -> None:
    for limit_name in ("max_nll_bound", "max_error"):
        if limit_name == tasks.get(name).kind.limit:
            _check(task=name, limit_name=limit_name)
        else:
            with pytest.raises(ValueError, match=rf"'{name}' has no {limit_name}.*compiled with TASK={name}\.$"):
                _check(task=name, limit_name=limit_name)


def test_a_run_may_say_it_all(tmp_path: Path) -> None:
    _check(task="mnist", steps=2000, limit=95.0, tolerance=0.0, data_dir=str(tmp_path), serving_dir="/m")
    _check(task="two_digit_mnist", train_examples=7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "minst"}, "There is no task 'minst'. The tasks are: digits, mnist"),
        ({"steps": 0}, "recipe.steps is 0: it must be positive"),
        ({"steps": -2}, "recipe.steps is -2"),
        ({"train_examples": 5}, "digits:1.0.0 has a fixed number"),
        ({"tolerance": -0.5}, "gate.tolerance is -0.5"),
        ({"limit_name": "max_error", "task": "cluttered_mnist", "limit": 1.5}, "gate.max_error is 1.5"),
        ({"checkpoint_root": "s3://bucket/c"}, "checkpoint_root is s3://bucket/c, and TensorFlow cannot open s3://"),
        ({"serving_dir": "minio://bucket/s"}, "serving_dir is minio://.* Give a path on a volume that is mounted"),
        ({"data_dir": "~/tensorflow_datasets"}, "data_dir is ~/tensorflow_datasets: give an absolute path"),
        ({"data_dir": "/no/such/folder"}, "data_dir is /no/such/folder, and there is no such folder"),
        # Whether or not there is a network: nobody has this one.
        (
            {"serving_dir": "gs://draw-tfx-nobodys/{task}"},
            "serving_dir is gs://draw-tfx-nobodys/.*, and (its bucket|gs://)",
        ),
    ],
)
def test_what_cannot_be_is_told(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as told:
        _check(**changes)
    assert "\n" not in str(told.value)
