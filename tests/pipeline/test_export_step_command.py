"""`draw export-step`: what its options change in what is written, and its mistakes in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.export_step_command import export_step


def _export(*arguments: str) -> Result:
    return CliRunner().invoke(export_step, arguments)


def _described(folder: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((folder / "program.json").read_text(encoding="utf-8"))
    return description


def test_a_program_for_each_batch_with_the_recipe_that_was_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "step"
    arguments = ("--task", "digits", "--batch", "4", "--batch", "2", "--steps", "70", "--products", "bfloat16")
    result = _export(*arguments, "-o", str(folder))
    assert result.exit_code == 0, result.output
    assert result.output == f"{folder}: digits, 2, 4 rows a step\n"
    description = _described(folder)
    assert [program["batch"] for program in description["programs"]] == [2, 4]
    recipe = description["task"]["recipe"]
    assert (recipe["steps"], recipe["products"]) == (70, "bfloat16")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "minst"), "There is no task 'minst'"),
        (("--examples", "/no/such/file-*"), "No file of examples"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = _export(*arguments, "-o", str(tmp_path / "step"))
    assert result.exit_code == 1 and message in result.output
    assert not (tmp_path / "step" / "program.json").exists()
