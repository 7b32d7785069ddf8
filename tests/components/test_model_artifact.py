"""What the stages behind the Trainer take from the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.model_artifact import address_for
from serving.saved_model import require_task
from trainer import tasks


@pytest.fixture
def mnist_dir(tmp_path: Path) -> str:
    """Holds the task alone; its test split is not its validation split, as that of `digits` is."""
    task = tasks.get("mnist")
    assert task.data.test != task.data.validation
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "task.json").write_text(task.to_json())
    return str(tmp_path)


def test_a_model_is_judged_on_the_test_split(mnist_dir: str) -> None:
    assert require_task(mnist_dir).test_split == tasks.get("mnist").data.test


def test_an_address_has_the_name_of_the_task_and_keeps_other_braces(mnist_dir: str) -> None:
    assert address_for("/models/{task}/{other}", mnist_dir) == "/models/mnist/{other}"


def test_an_address_without_a_task_needs_no_model(tmp_path: Path) -> None:
    assert address_for("/models/x", str(tmp_path / "missing")) == "/models/x"
    with pytest.raises(FileNotFoundError, match=r"missing has no assets/task\.json.*Export it with its task"):
        address_for("/models/{task}", str(tmp_path / "missing"))
