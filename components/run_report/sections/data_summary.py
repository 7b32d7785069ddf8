"""The data sets of a run: their sizes, classes, first images and mean images."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.run_report import page_figures
from components.run_report.run import Run

_EXAMPLES = 24


def gather(run: Run) -> dict[str, Any]:
    """Gathers a row a split, and the pictures and classes of what is trained on."""
    source = run.task.data
    roles = {
        "trained on": source.training_splits,
        "watched while training": (source.validation,),
        "gate": (source.test,),
    }
    splits = [
        (
            split,
            ", ".join(role for role, names in roles.items() if split in names),
            f"{run.counts[split]:,}",
            f"{run.examples(split).images.mean() / 255:.4f}",
        )
        for split in source.splits
    ]
    images, labels = run.training_examples
    classes, counts = ([], []) if labels is None else np.unique(labels, return_counts=True)
    names = [run.task.class_name(int(label)) for label in classes]
    means = np.stack([images.mean(axis=0), *(images[labels == label].mean(axis=0) for label in classes)])
    brightest = means.max() or 1
    return {
        "splits": splits,
        "examples": page_figures.tiles(images[:_EXAMPLES]),
        "images": len(images),
        "trained_on": sum(run.counts[split] for split in source.training_splits),
        "means": page_figures.tiles(means / brightest, ["all", *names]),
        "gain": 255 / brightest,
        "classes": page_figures.chart("bars", "class", "images", names=names, values=list(map(int, counts)))
        if names
        else None,
    }
