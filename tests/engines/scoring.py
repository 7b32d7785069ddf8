"""The batch job as a process, on whatever engine, and what it wrote beside what the local runner writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests import tiny
from tests.serving.model_server import export_model

TASK = tiny.MODELS["attention"]
COUNT = 40
"""Images of the input, of which one cannot be used."""


def make_place(folder: Path) -> Path:
    """A folder with a model, two files of images, and a file that is passed over."""
    export_model(TASK, folder / "model")
    (folder / "in").mkdir()
    images = tiny.make_images(TASK, COUNT)
    images[7] = 3
    np.savez(folder / "in" / "a.npz", image=images[:25], id=[f"a{row}" for row in range(25)])
    np.savez(folder / "in" / "b.npz", image=images[25:], id=[f"b{row}" for row in range(COUNT - 25)])
    (folder / "in" / "README.md").touch()
    return folder


def command(place: Path, output: Path, *words: str) -> list[str]:
    """The command that scores what `make_place` made."""
    return [
        *(sys.executable, "-m", "serving.batch", "--model", str(place / "model"), "--input", str(place / "in")),
        *("--output", str(output), "--max-bad", "1", *words),
    ]


def environment() -> dict[str, str]:
    """That of the command's process."""
    return {**os.environ, "PYTHONPATH": str(tiny.ROOT)}


def score(place: Path, output: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        command(place, output, *words), env=environment(), capture_output=True, text=True, timeout=400
    )


def without_progress(errors: str) -> str:
    """What a command wrote to standard error but for its lines of progress, which come where it takes a while."""
    return re.sub(r"^[\d,]+ images, [\d,]+ images/s\n", "", errors, flags=re.MULTILINE)


def rows(output: Path) -> dict[str, dict[str, Any]]:
    """The scores by id, each of which is there once."""
    files = output.parent.glob(f"{output.name}-scores-*.parquet")
    listed = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert len({row["id"] for row in listed}) == len(listed)
    return {row["id"]: row for row in listed}


def assert_same(output: Path, expected: Path) -> None:
    """The same scores but for float32's last places, and the same account."""
    found, others = rows(output), rows(expected)
    assert found.keys() == others.keys() and len(found) == COUNT - 1
    for identity, row in found.items():
        numbers = {name: value for name, value in row.items() if isinstance(value, float)}
        assert numbers == pytest.approx({name: others[identity][name] for name in numbers}, rel=1e-5, abs=1e-5)
    one, other = (json.loads(Path(f"{each}-summary.json").read_text()) for each in (output, expected))
    assert one["rejected"] == other["rejected"] == 1
    assert one["passed_over"] == other["passed_over"]
