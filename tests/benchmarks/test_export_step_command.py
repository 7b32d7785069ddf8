"""`python -m benchmarks.export_step`: what its options change in what is written, and its mistakes in a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.export_step import main


def _described(folder: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((folder / "program.json").read_text(encoding="utf-8"))
    return description


def test_a_program_for_each_batch_with_the_recipe_that_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "step"
    arguments = (
        "--task",
        "digits",
        "--batch",
        "4",
        "--batch",
        "2",
        "--set",
        "recipe.steps=700",
        "--set",
        "recipe.matmul_dtype=bfloat16",
    )
    main([*arguments, "-o", str(folder)])
    assert capsys.readouterr().out == f"{folder}: digits, 2, 4 rows a step\n"
    description = _described(folder)
    assert [program["batch"] for program in description["programs"]] == [2, 4]
    recipe = description["task"]["recipe"]
    assert (recipe["steps"], recipe["matmul_dtype"]) == (700, "bfloat16")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "minst"), "There is no task 'minst'"),
        (("--examples", "/no/such/file-*"), "No file of examples"),
        (("--set", "recipe.stpes=7"), "recipe.steps"),
        (("--clutter-from", "/no/such/folder"), "--clutter-from is for tasks of cluttered digits"),
        (("--init-from", "/no/such/file.npz"), "Cannot start from /no/such/file.npz"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main([*arguments, "-o", str(tmp_path / "step")])
    assert not (tmp_path / "step" / "program.json").exists()
