"""Pretrained models by name: where they lie, and what they reach."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DISTRIBUTION = "draw-tfx-models"
"""Carries the models where this is not a checkout."""
METRICS_FILE = "metrics.json"
"""Beside a model's numbered version: what the model reaches, in numbers; README.md says it in words."""


def folder() -> Path | None:
    """Returns the folder of the models: DRAW_MODELS, the installed distribution's, or the checkout's; else None."""
    if named := os.environ.get("DRAW_MODELS"):
        return Path(named)
    spec = importlib.util.find_spec("draw_tfx_models")
    if spec and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    checkout = Path(__file__).resolve().parents[1] / "pretrained"
    return checkout if checkout.is_dir() else None


def names() -> list[str]:
    """Lists the models that there are."""
    models = folder()
    return sorted(path.parent.name for path in models.glob(f"*/{METRICS_FILE}")) if models else []


def metrics(name: str) -> Mapping[str, Any]:
    """Reads what a model reaches. Raises ValueError where there is no such model."""
    content: Mapping[str, Any] = json.loads((find(name) / METRICS_FILE).read_text(encoding="utf-8"))
    return content


def find(name: str) -> Path:
    """Returns a model's folder of numbered versions. Raises ValueError where there is no such model."""
    models = folder()
    if models is None or name not in names():
        raise ValueError(
            f"There is no pretrained model {name!r}. "
            + (f"There are: {', '.join(names())}." if names() else f"Install them with `pip install {DISTRIBUTION}`.")
        )
    return models / name


def resolve(model: str) -> str:
    """Returns the folder of a pretrained model for its name, and everything else as it is.

    A folder of the same name is meant by a path with a slash, such as ./mnist.
    """
    return str(find(model)) if model in names() else model
