"""The resolved task: every value with where it comes from."""

from __future__ import annotations

import json
from typing import Any

from components.run_report.run import Run
from serving.saved_model import DEFAULT_SIGNATURE, signature_definitions
from trainer.task import GIVEN, ClassifyingTask, GenerativeTask


def gather(run: Run) -> dict[str, Any]:
    """Gathers the sizes at a glance and the rows (name, value, source) of all values."""
    task = run.task
    rows = [(path, _text(value), task.source(path)) for path, value in sorted(task.leaves())]
    for name in ("max_nll_bound", "max_error", "tolerance"):
        judged = run.evaluation.get(name)
        if judged is not None and judged != getattr(task.gate, name, None):
            rows.append((f"gate.{name}, as judged", json.dumps(judged), GIVEN))
    return {"sizes": _sizes(run), "rows": rows}


def _sizes(run: Run) -> dict[str, str]:
    task = run.task
    height, width, channels = task.image_shape
    sizes = {
        "image": f"{height} × {width}, {'grey' if channels == 1 else 'colour'}",
        "binarisation": task.binarisation.value.replace("_", " "),
        "steps T": str(task.glimpses),
        "LSTM units": str(task.lstm_units),
    }
    if isinstance(task, GenerativeTask):
        sizes["latents n_z"] = str(task.latent_size)
    sizes |= {f"{name} N": str(size) for name, size in task.window_sizes.items()} or {"attention": "none"}
    if isinstance(task, ClassifyingTask):
        sizes["classes"] = str(task.classes)
    sizes["signatures"] = ", ".join(name for name in signature_definitions(run.model_dir) if name != DEFAULT_SIGNATURE)
    return sizes


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
