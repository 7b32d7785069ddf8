"""Whether a baseline can be compared with the model: both must have been measured on the same pixels."""

from __future__ import annotations

import math

from components import exported_task


def incomparable(model_dir: str, baseline_dir: str) -> str | None:
    """Why two SavedModels are not comparable, or None where they are.

    A bound is the code length of an image, an error is one on certain images, so both depend on what an image is: data
    set, binarisation and shape. All else in the task (sizes, recipe) is what the comparison is about.

    Raises:
      FileNotFoundError: where the model to be judged does not say what its task is.
    """
    task = exported_task.require(model_dir)
    baseline_task = exported_task.read(baseline_dir)
    if baseline_task is None:
        return f"it has no {exported_task.TASK_FILE}, so its task is unknown"
    differences = [
        f"{name} is {theirs!r} there and {ours!r} here"
        for name, ours, theirs in (
            ("data.builder", task["data"]["builder"], baseline_task["data"]["builder"]),
            ("binarisation", task["binarisation"], baseline_task["binarisation"]),
            ("image_shape", task["image_shape"], baseline_task["image_shape"]),
        )
        if ours != theirs
    ]
    return "; ".join(differences) or None


def cost_dimensions(model_dir: str) -> int | None:
    """H W C where the model's pixels are intensities, so that its bound is a cost; None where they are binarised.

    None, too, of a model that does not say what its task is.
    """
    task = exported_task.read(model_dir)
    return None if task is None or task["binarisation"] != "none" else math.prod(task["image_shape"])
