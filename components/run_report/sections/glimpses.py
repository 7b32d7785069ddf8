"""Where a classifier looks, and which classes it confuses."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.run_report import page_figures
from components.run_report.run import Run
from components.run_report.sections.attention_maps import MAX_IMAGES, attention_maps
from trainer.task import ClassifyingTask

_PLAYED = 12
_MAX_MISTAKES = 24


def gather(run: Run) -> dict[str, Any]:
    """Gathers the glimpses over test images, and maps of all of them."""
    task = _task(run)
    images = run.examples(task.data.test).images
    windows = run.classifications["glimpse_window"]
    count = min(len(images), page_figures.affordable_count(_PLAYED, images[0].size))
    return {
        "glimpses": page_figures.player(
            images[:count, None],
            {"glimpse": (windows[:count], task.read)},
            labels=_captions(run, np.arange(count)),
        ),
        "maps": attention_maps("Looking", windows[:MAX_IMAGES], task.read, task.image_shape),
    }


def gather_mistakes(run: Run) -> dict[str, Any]:
    """Gathers the confusion matrix and the errors of which the model was surest."""
    task = _task(run)
    images, labels = run.examples(task.data.test).images, _labels(run)
    predicted = run.classifications["label"]
    wrong = np.flatnonzero(predicted != labels)
    certainty = run.classifications["probabilities"].max(axis=1)[wrong]
    surest = wrong[np.argsort(-certainty, kind="stable")][:_MAX_MISTAKES]
    return {
        "images": len(labels),
        "wrong": len(wrong),
        "names": [task.class_name(label) for label in range(task.classes)],
        "confusion": _confusion(labels, predicted, task.classes),
        "surest": page_figures.tiles(images[surest], _captions(run, surest)) if len(surest) else None,
    }


def _confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> list[list[tuple[int, float]]]:
    """Counts the images of each label by prediction, each with its shade in percent.

    Errors are shaded by their share of the row; the diagonal, which dwarfs them, is not.
    """
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels, predicted), 1)
    shares = (matrix - np.diag(np.diag(matrix))) / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shades = 100 * shares / (shares.max() or 1.0)
    return [list(zip(*rows, strict=True)) for rows in zip(matrix.tolist(), shades.tolist(), strict=True)]


def _captions(run: Run, rows: np.ndarray) -> list[str]:
    """Describes images by their label, the model's class if it is another, and its probability."""
    labels, predicted = (
        [run.task.class_name(label) for label in values.tolist()]
        for values in (_labels(run), run.classifications["label"])
    )
    probabilities = run.classifications["probabilities"].max(axis=1)
    return [
        f"{labels[row]}{'' if labels[row] == predicted[row] else f' → {predicted[row]}'}, {probabilities[row]:.0%}"
        for row in rows
    ]


def _labels(run: Run) -> np.ndarray:
    labels = run.examples(run.task.data.test).labels
    # A classifying task's data set has labels.
    assert labels is not None
    return labels


def _task(run: Run) -> ClassifyingTask:
    assert isinstance(run.task, ClassifyingTask)
    return run.task
