"""`python -m benchmarks.recipes`: equal cost, what a recipe may change, resumption, the table, and one comparison."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from benchmarks import recipes
from trainer import tasks
from trainer.task import GIVEN, OURS, Task

TASK = tasks.get("digits")  # T = 8, batches of 100
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "small batches": {"batch_size": 40},
    "fewer glimpses": {"glimpse_schedule": [[0.25, 2], [0.5, 4]]},
    "both": {"batch_size": 60, "glimpse_schedule": [[0.6, 5]]},
    "cheap": {"matmul_dtype": "bfloat16", "share": 1.5},
}


def vary(changes: dict[str, Any], task: Task = TASK, budget: float = 400.0) -> Task:
    return recipes.vary(task, changes, budget=budget, validation_examples=70)


@pytest.mark.parametrize("name", CHANGES)
def test_every_recipe_costs_the_budget(name: str) -> None:
    task = vary(CHANGES[name])
    cost = task.glimpses_before(task.recipe.steps) * task.recipe.batch_size
    expected = 400_000 * CHANGES[name].get("share", 1.0)
    # To a step's cost, and to one more at each joint of a schedule, which falls on a whole step.
    joints = len(task.recipe.glimpse_schedule)
    assert abs(cost - expected) <= (1 + joints) * task.glimpses * task.recipe.batch_size


def test_what_differs_is_the_change_and_what_follows_from_the_budget() -> None:
    task = vary({"batch_size": 40, "learning_rate": 4e-3})
    followed = {
        "steps": 1_250,
        "warmup_steps": 125,
        "validation_interval": 104,
        "validation_examples": 70,
        "checkpoint_seconds": 1e9,
    }
    assert task.recipe == dataclasses.replace(TASK.recipe, batch_size=40, learning_rate=4e-3, **followed)
    assert task == dataclasses.replace(TASK, recipe=task.recipe, sources=task.sources)
    assert (task.source("recipe.batch_size"), task.source("recipe.seed")) == (GIVEN, OURS)
    # A change wins over what would follow.
    assert vary({"warmup_steps": 7}).recipe.warmup_steps == 7


def test_a_schedule_is_the_tasks_unless_the_recipe_has_one() -> None:
    scheduled = dataclasses.replace(TASK, recipe=dataclasses.replace(TASK.recipe, glimpse_schedule=((0.5, 4),)))
    assert vary({}, scheduled).recipe.glimpse_schedule == ((0.5, 4),)
    assert vary({"glimpse_schedule": []}, scheduled).recipe.glimpse_schedule == ()
    assert vary(CHANGES["fewer glimpses"]).recipe.glimpse_schedule == ((0.25, 2), (0.5, 4))


def test_a_small_budget_still_trains() -> None:
    task = vary({}, budget=0.001)
    assert (task.recipe.steps, task.recipe.warmup_steps, task.recipe.validation_interval) == (10, 1, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"momentum": 0.9}, "cannot be given momentum"),
        ({"steps": 100}, "cannot be given steps: the steps follow from the budget"),
        ({"matmul_dtype": "float16"}, "recipe.matmul_dtype is 'float16'"),
        ({"glimpse_schedule": [[0.5, 0]]}, "recipe.glimpse_schedule is"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vary(changes)


# What is trained, and when


VARIANTS = {name: vary(changes) for name, changes in CHANGES.items()}


class Runs:
    """Results of nothing: whose turn it was, and on which cores."""

    def __init__(self, failing: str = "") -> None:
        self.names: list[str] = []
        self.cores: list[list[int]] = []
        self._failing, self._lock = failing, threading.Lock()

    def __call__(self, name: str, cores: list[int]) -> recipes.Result:
        with self._lock:
            self.names.append(name)
            self.cores.append(cores)
        if name == self._failing:
            return {"error": f"see {name}.log"}
        value = float(len(name))
        return {
            "steps": 1_234,
            "processor_seconds": 90,
            "metric": "nll_bound",
            "validation": value,
            "curve": [[1, value]],
        }


def test_what_has_a_result_is_not_trained_again(tmp_path: Path) -> None:
    first, second, third = Runs(failing="both"), Runs(), Runs()
    results = recipes.compare(VARIANTS, tmp_path, jobs=1, run=first)
    assert first.names == list(VARIANTS) == list(results) and "error" in results["both"]
    assert json.loads((tmp_path / "results.json").read_text()) == results
    results = recipes.compare(VARIANTS, tmp_path, jobs=1, run=second)
    assert second.names == ["both"] and results["both"]["validation"] == 4.0
    assert recipes.compare(VARIANTS, tmp_path, jobs=1, run=third) == results and third.names == []


def test_a_result_is_kept_when_the_next_recipe_is_interrupted(tmp_path: Path) -> None:
    runs = Runs()

    def run(name: str, cores: list[int]) -> recipes.Result:
        if len(runs.names) == 2:
            raise OSError("interrupted")
        return runs(name, cores)

    with pytest.raises(OSError, match="interrupted"):
        recipes.compare(VARIANTS, tmp_path, jobs=1, run=run)
    assert list(json.loads((tmp_path / "results.json").read_text())) == list(VARIANTS)[:2]


def test_jobs_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 5, 7, 8})
    runs, together = Runs(), threading.Barrier(2)

    def run(name: str, cores: list[int]) -> recipes.Result:
        together.wait(timeout=20)  # Both at once.
        return runs(name, cores)

    pairs = {name: VARIANTS[name] for name in list(VARIANTS)[:4]}
    recipes.compare(pairs, tmp_path, jobs=2, run=run)
    assert sorted(runs.names) == sorted(pairs)
    assert {tuple(cores) for cores in runs.cores} == {(1, 5, 8), (4, 7)}


@pytest.mark.parametrize("jobs", [0, 3])
def test_more_jobs_than_cores_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    with pytest.raises(ValueError, match=f"The number of jobs is {jobs}: give 1 to 2"):
        recipes.compare(VARIANTS, tmp_path, jobs=jobs, run=Runs())
    assert not list(tmp_path.iterdir())


def test_another_recipe_of_the_same_name_is_refused(tmp_path: Path) -> None:
    """Its result would stand for this one's, and its checkpoint be resumed."""
    recipes.compare(VARIANTS, tmp_path, jobs=1, run=Runs())
    with pytest.raises(ValueError, match=r"small batches was trained by another recipe or budget"):
        recipes.compare({"small batches": vary({"batch_size": 41})}, tmp_path, jobs=1, run=Runs())


def test_the_table_has_the_best_first_and_names_what_failed(tmp_path: Path) -> None:
    results = recipes.compare(VARIANTS, tmp_path, jobs=1, run=Runs(failing="plain"))
    lines = list(recipes.table(results))
    assert lines[0] == "| recipe | steps | processor minutes | validation nll_bound |"
    assert lines[2:] == [
        "| both | 1,234 | 2 | 4 |",
        "| cheap | 1,234 | 2 | 5 |",
        "| small batches | 1,234 | 2 | 13 |",
        "| fewer glimpses | 1,234 | 2 | 14 |",
        "plain: see plain.log",
    ]
    recipes.plot(results, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_two_recipes_are_trained_and_a_third_fails(tmp_path: Path) -> None:
    from tests import tiny

    task = tiny.tiny_task({"warmup_steps": 0}, glimpses=4)
    for split, count in (("fit", 23), ("watch", 13)):
        tiny.write_examples(tmp_path / split, tiny.make_images(task, count))
    changes = {
        "plain": {},
        "fewer glimpses": {"glimpse_schedule": [[0.5, 2]]},
        "diverges": {"learning_rate": 1e30, "clip_norm": 1e6},
    }
    (tmp_path / "recipes.json").write_text(json.dumps(changes))
    command = [sys.executable, "-m", "benchmarks.recipes", str(tmp_path / "recipes.json"), "--budget", "1"]
    command += ["--task", task.to_json(), "--examples", f"{tmp_path}/fit/*", "--validation", f"{tmp_path}/watch/*"]
    done = subprocess.run([*command, "-o", str(tmp_path / "out")], cwd=tiny.ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {name: result.get("steps") for name, result in results.items()} == {
        "plain": 25,
        "fewer glimpses": 33,
        "diverges": None,
    }
    for name in ("plain", "fewer glimpses"):
        assert results[name]["curve"][-1][0] == pytest.approx(1.0, rel=0.05)
        assert results[name]["curve"][-1][1] == results[name]["validation"]
    assert "Training diverged" in (tmp_path / "out" / "diverges.log").read_text()
    assert f"diverges: see {tmp_path}/out/diverges.log" in done.stdout.splitlines()
    assert (tmp_path / "out" / "curves.png").exists()
