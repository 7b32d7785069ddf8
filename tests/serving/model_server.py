"""A real model on the real server, for tests that ask over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from serving.server import Server, ServerConfig, models_from_folder
from tests import tiny
from trainer.export import exporter
from trainer.task import ClassifyingTask, GenerativeTask

MODEL = "tiny"
VERSION = 3


def export_model(
    task: GenerativeTask | ClassifyingTask, folder: Path, *, version: int = VERSION, seed: int = 6
) -> Path:
    """Exports the task's model with random weights, as that version; returns the folder of versions."""
    make_case = tiny.make_classifier_case if isinstance(task, ClassifyingTask) else tiny.make_case
    parameters = make_case(task, rows=2, scale=0.7, seed=seed).weights
    folder.mkdir(parents=True, exist_ok=True)
    exporter.export(
        task, {name: value.astype(np.float32) for name, value in parameters.items()}, str(folder / str(version))
    )
    return folder


@contextmanager
def serve(folder: Path, model: str = MODEL, **options: Any) -> Iterator[Server]:
    """Serves a folder of versions; yields when the server answers."""
    with Server(ServerConfig(models=models_from_folder(folder, model), **options)) as server:
        server.wait_until_available(model, timeout=120)
        yield server
