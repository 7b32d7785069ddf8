"""Models of every kind, exported as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pipeline.portable import onnx_export
from serving.saved_model import SavedModel
from tests import tiny
from trainer.export import exporter
from trainer.task import Task


class Case(NamedTuple):
    """A SavedModel, and the folder of its ONNX files."""

    task: Task
    saved_model: SavedModel
    folder: Path
    exported: list[onnx_export.Exported]


KINDS: dict[str, Task] = {**tiny.MODELS, "classifier": tiny.CLASSIFIER}


def save(task: Task, directory: Path) -> Path:
    """Exports a model of random weights, none neutral."""
    make = tiny.make_classifier_case if task is tiny.CLASSIFIER else tiny.make_case
    weights = make(task, scale=0.7, seed=6).weights
    exporter.export(task, {name: value.astype(np.float32) for name, value in weights.items()}, str(directory))
    return directory


@pytest.fixture(scope="session", params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    task = KINDS[request.param]
    directory = save(task, tmp_path_factory.mktemp(request.param) / "model")
    folder = tmp_path_factory.mktemp("onnx")
    return Case(task, SavedModel(directory), folder, list(onnx_export.export(str(directory), folder)))
