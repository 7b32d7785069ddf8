"""Tables that repeat what the code says, say it."""

from __future__ import annotations

import json
import re

from tests.documents.code_blocks import ROOT
from trainer import tasks
from trainer.export.classifier_signatures import ClassifierSignatures
from trainer.export.generative_signatures import GenerativeSignatures
from trainer.task import GenerativeTask


def _rows(document: str, heading: str) -> list[list[str]]:
    """The cells of the table with that heading, row by row."""
    table = (ROOT / document).read_text(encoding="utf-8").split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    return [[re.sub(r"[`*,]", "", cell).strip() for cell in row] for row in rows]


def test_the_readme_is_read_in_a_minute() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_tasks_are_those_of_the_code() -> None:
    rows = {row[0]: row[2:] for row in _rows("docs/pipeline.md", "task")}
    expected = {}
    for name in tasks.NAMES:
        task = tasks.get(name)
        latents = str(task.latent_size) if isinstance(task, GenerativeTask) else ""
        windows = " ".join(map(str, task.window_sizes.values()))
        expected[name] = [str(task.glimpses), str(task.lstm_units), latents, windows, str(task.recipe.steps)]
    assert rows == expected


def test_signatures_are_those_of_the_code() -> None:
    shown = {row[0].split()[0] for row in _rows("docs/signatures.md", "signature")}
    code = {
        *GenerativeSignatures.inputs(tasks.get("mnist")),
        *ClassifierSignatures.inputs(tasks.get("cluttered_mnist")),
    }
    assert shown == code


def test_results_are_those_of_the_pretrained_models() -> None:
    rows = {row[0]: (row[1], row[-1]) for row in _rows("README.md", "model")}
    expected = {}
    for path in (ROOT / "pretrained").glob("*/metrics.json"):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if metrics["metric"] == "error":
            low, high = metrics["interval_95"]
            result = f"{metrics['value']:.2%} ({100 * low:.2f} to {100 * high:.2f})"
        else:
            result = f"{metrics['value']:.2f} ± {metrics['standard_error']:.2f}"
        size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
        expected[path.parent.name] = (result, f"{size / 1e6:.1f} MB")
    assert rows == expected
