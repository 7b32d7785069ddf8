"""The notebook can be read as it is committed, and runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "draw.ipynb"


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _printed(cell: NotebookNode) -> str:
    return "".join(output.get("text", "") for output in cell.outputs)


def _bounds(notebook: NotebookNode) -> dict[str, tuple[float, float]]:
    """What the last cell prints: the bounds before and after the training."""
    found = re.findall(r"^(.+?) +([\d.]+) nats before, +([\d.]+) after", _printed(_code(notebook)[-1]), re.MULTILINE)
    return {name: (float(before), float(after)) for name, before, after in found}


def test_its_outputs_are_committed_small_and_clean() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) == 10
    assert [cell.execution_count for cell in _code(notebook)] == [*range(1, len(_code(notebook)) + 1)]
    outputs = [output for cell in _code(notebook) for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(output.get("name") != "stderr" for output in outputs)
    pictures = [kind for output in outputs for kind in output.get("data", {}) if kind.startswith("image/")]
    assert sorted(pictures) == ["image/gif", *["image/png"] * 4]
    assert NOTEBOOK.stat().st_size < 600_000
    before, after = _bounds(notebook)["mirrored digits"]
    assert after < before - 5


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    for name in ("STEPS", "TASK", "PIPELINE_ROOT", "INIT_FROM"):
        monkeypatch.delenv(name, raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in _code(notebook):
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(notebook, timeout=1500, resources={"metadata": {"path": os.fspath(tmp_path)}})
    client.execute()
    before, after = _bounds(notebook)["mirrored digits"]
    assert after < before - 5, _printed(_code(notebook)[-2])
