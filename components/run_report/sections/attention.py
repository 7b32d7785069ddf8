"""Where a model looks: maps of its attention over test images."""

from __future__ import annotations

import numpy as np

from components.run_report import attention_map, markup
from components.run_report.model import seeds
from components.run_report.run import Run
from components.run_report.sprite import ramp
from trainer.task import Attention, GenerativeTask

LOOKED_AT = 256
"""Test images whose windows make the maps."""
_MAPS = 16
"""Steps that have a map of their own."""


def body(run: Run) -> str:
    """Maps of where it reads and writes; of a model without attention the reason why there are none."""
    task = run.task
    assert isinstance(task, GenerativeTask)
    if not isinstance(task.attention, Attention):
        return markup.paragraph("This model has no attention: it reads and writes the whole image at each step.")
    originals = run.images(task.data.test).pixels[:LOOKED_AT]
    found = run.model.ask("reconstruct", ("read_window", "write_window"), image=originals, seed=seeds(len(originals)))
    parts = [("Reading", "read_window", task.attention.read), ("Writing", "write_window", task.attention.write)]
    return "".join(
        f"<h3>{name}</h3>" + maps(found[window], size, task.image_shape, len(originals)) for name, window, size in parts
    )


def maps(windows: np.ndarray, size: int, shape: tuple[int, int, int], images: int) -> str:
    """Of all steps together, and of each, [n, T, 5]."""
    by_step, inside = attention_map.coverage(windows, size, *shape[:2])
    steps = len(by_step)
    shown = np.unique(np.linspace(0, steps - 1, min(steps, _MAPS)).round().astype(int))
    pictures = np.stack([by_step.mean(axis=0), *by_step[shown]])
    brightest = pictures.max(axis=(1, 2), keepdims=True)
    return markup.tiles(
        ramp(pictures / np.where(brightest > 0, brightest, 1)),
        f"On which pixels of {images} test images the filters lie, from dark blue, never, to yellow, where most: all "
        f"{steps} steps together, then step by step, each map by its own measure. {inside:.0%} of the filters lie on "
        "the image; the others see its edge, and are left out.",
        labels=["all", *(f"step {step + 1}" for step in shown)],
        describe="map of attention",
        smallest=84,
    )
