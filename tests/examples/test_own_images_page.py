"""The commands of docs/own-images.md: from pictures that packages carry to a pushed model and its scores."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.pipeline.draw_command import BIN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]


def _commands(example: str) -> str:
    """The commands of the block that follows a paragraph, which begins in bold letters."""
    page = (ROOT / "docs" / "own-images.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"\*\*{example}\.\*\*.*?```console\n(.*?)```", page, re.DOTALL)
    commands = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    assert len(commands) >= 6
    return "\n".join(commands)


def _run(example: str, folder: Path) -> str:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    script = subprocess.run(
        ["bash", "-euxc", _commands(example)],
        cwd=folder,
        env={**os.environ, "PATH": path, "DRAW": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(script.stdout)  # pytest shows it if the test fails
    assert script.returncode == 0
    return script.stdout


def _scores(prefix: Path) -> dict[str, list[object]]:
    table: dict[str, list[object]] = pq.read_table(sorted(prefix.parent.glob(f"{prefix.name}-scores-*"))).to_pydict()
    return table


def test_a_model_draws_letters(tmp_path: Path) -> None:
    shown = _run("A model that draws letters", tmp_path)
    assert "1,800 pictures in letters" in shown and "classes    10: A, B, C, D, E, F, G, H, ..." in shown
    (version,) = (tmp_path / "runs" / "glyphs" / "serving" / "glyphs").iterdir()
    assert (version / "saved_model.pb").is_file()
    (bound,) = re.findall(r"\*\*this model\*\*, the bound \| ≤ ([\d.]+)", shown)
    assert 10 < float(bound) < 250  # with pixels of 1/2 it is 710
    assert "The paper gives no number for these data." in shown
    scores = _scores(tmp_path / "scores" / "a")
    assert len(scores["id"]) == 180 and all(str(identity).endswith(".png") for identity in scores["id"])
    assert max(map(float, scores["nll_bound"])) < 1_000  # type: ignore[arg-type]
    assert (tmp_path / "glyphs.png").is_file()


def test_a_classifier_tells_photographs_apart(tmp_path: Path) -> None:
    shown = _run("A classifier of photographs", tmp_path)
    assert "520 pictures in patches" in shown and "classes    2: china, flower" in shown
    (error,) = re.findall(r"\*\*this model\*\* \| ([\d.]+) %", shown)
    assert float(error) < 30
    classes = re.findall(r"^\d+ +\d +[\d.]+ +(\w+)$", shown, re.MULTILINE)
    assert len(classes) == 260 and classes.count("flower") > 180
