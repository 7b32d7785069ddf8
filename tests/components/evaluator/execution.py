"""Runs an evaluator's executor in this process and reads what it left behind."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import pytest
from tfx import types
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from components.evaluator.executor import EvaluatorExecutor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What one execution left behind."""

    evaluation: dict[str, Any]
    report: str
    blessing: types.Artifact

    @property
    def blessing_files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in pathlib.Path(self.blessing.uri).iterdir()}


def execute(
    executor: type[EvaluatorExecutor],
    folder: pathlib.Path,
    *,
    model: types.Artifact,
    examples: types.Artifact,
    baseline: types.Artifact | None = None,
    beam_args: tuple[str, ...] = (),
    **properties: object,
) -> Result:
    """Evaluates `model` into new folders in `folder`."""
    evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
    for artifact, name in ((evaluation, "evaluation"), (blessing, "blessing")):
        artifact.uri = str(folder / name)
        pathlib.Path(artifact.uri).mkdir()
    executor(BaseBeamExecutor.Context(beam_pipeline_args=list(beam_args))).Do(
        {"model": [model], "examples": [examples], "baseline_model": [baseline] if baseline else []},
        {"evaluation": [evaluation], "blessing": [blessing]},
        properties,
    )
    files = pathlib.Path(evaluation.uri)
    assert sorted(path.name for path in files.iterdir()) == ["evaluation.json", "report.md"]
    return Result(
        evaluation=json.loads((files / "evaluation.json").read_text(), parse_constant=pytest.fail),
        report=(files / "report.md").read_text(),
        blessing=blessing,
    )
