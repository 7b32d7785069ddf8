"""A real model on the real server, for tests that ask over a socket."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from serving.server import Server, ServerConfig, models_from_folder
from tests import tiny
from tests.serving import tiny_servable
from trainer.export import exporter
from trainer.task import ClassifyingTask, Task

MODEL = "tiny"
VERSION = 3
_EXPORTS = tempfile.TemporaryDirectory()


def export_model(task: Task, folder: Path, *, version: int = VERSION, seed: int = 6) -> Path:
    """Exports the task's model with random weights, as that version; returns the folder of versions.

    A process exports each task and seed once, and copies it from then on.
    """
    exported = Path(_EXPORTS.name) / hashlib.sha256(f"{seed} {task.to_json()}".encode()).hexdigest()
    if not exported.exists():
        make_case = tiny.make_classifier_case if isinstance(task, ClassifyingTask) else tiny.make_case
        weights = make_case(task, rows=2, scale=0.7, seed=seed).weights
        exporter.export(task, {name: value.astype(np.float32) for name, value in weights.items()}, str(exported))
    shutil.copytree(exported, folder / str(version))
    return folder


@contextmanager
def serve(folder: Path, model: str = MODEL, **options: Any) -> Iterator[Server]:
    """Serves a folder of versions; yields when the server answers."""
    with Server(ServerConfig(models=models_from_folder(folder, model), **options)) as server:
        tiny_servable.wait_until_available(server, model, timeout=120)
        yield server
