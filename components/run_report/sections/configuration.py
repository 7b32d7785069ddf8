"""The task: every value with where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from components.run_report import markup
from components.run_report.run import Run
from trainer.task import GIVEN, Attention, ClassifyingTask


def body(run: Run) -> str:
    """The sizes at a glance, then all values."""
    task = run.task
    rows, columns, channels = task.image_shape
    sizes = {
        "image": f"{rows} × {columns}, {'grey' if channels == 1 else 'colour'}",
        "binarisation": task.binarisation.value.replace("_", " "),
        "steps T": str(task.glimpses),
        "LSTM units": str(task.lstm_units),
    }
    if isinstance(task, ClassifyingTask):
        sizes |= {"read N": str(task.read), "classes": str(task.classes)}
    else:
        attention = task.attention
        sizes["latents n_z"] = str(task.latent_size)
        sizes |= (
            {"read N": str(attention.read), "write N": str(attention.write)}
            if isinstance(attention, Attention)
            else {"attention": "none"}
        )
    values = json.loads(task.to_json())
    sources = values.pop("sources")
    table = [(path, value, sources[path]) for path, value in _leaves(values) if path in sources]
    found = run.evaluation
    for name in ("max_nll_bound", "max_error", "tolerance"):
        if name in found and found[name] != values["gate"][name]:
            table.append((f"gate.{name}, as judged", json.dumps(found[name]), GIVEN))
    return markup.facts(sizes) + markup.details(
        f"All {len(table)} values and where each comes from",
        markup.table("The resolved task", ("name", "value", "source"), table, kind="values"),
    )


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in sorted(values.items()):
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, str) else json.dumps(value)
