"""What a generative model draws of its own accord, stroke by stroke."""

from __future__ import annotations

import math

from components.run_report import attention_map, markup
from components.run_report.model import seeds
from components.run_report.run import Run
from components.run_report.sprite import to_bytes
from trainer.task import Attention, GenerativeTask

_DRAWINGS = 12
_SAMPLES = 60


def body(run: Run) -> str:
    """Some drawings step by step with what each step tells, and many as they end."""
    task = run.task
    assert isinstance(task, GenerativeTask)
    numbers = math.prod(task.image_shape)
    count = markup.affordable(_DRAWINGS, task.glimpses * numbers)
    drawn = run.model.ask("sample_sequence", ("canvas", "write_window"), seed=seeds(count))
    windows = {}
    caption = "The canvas after each step, from nothing but noise."
    if isinstance(task.attention, Attention):
        windows["write window"] = attention_map.rectangles(drawn["write_window"], task.attention.write)
        caption += " The rectangle is where the model writes; the heavier its border, the sharper its filters."
    player = markup.player(to_bytes(drawn["canvas"]), windows, title=f"{count} drawings, step by step", caption=caption)
    several = markup.affordable(_SAMPLES, numbers)
    images = run.model.ask("sample", ("image",), seed=seeds(several))["image"]
    grid = markup.tiles(
        to_bytes(images),
        f"{several} samples: the mean of each pixel. None is chosen; they are those of the seeds (0, 0) to "
        f"(0, {several - 1}).",
        describe="sample",
    )
    return player + _kl_by_step(run) + grid


def _kl_by_step(run: Run) -> str:
    kl = run.evaluation["overall"]["kl_per_step"]
    if any(value is None for value in kl["mean"]):
        return markup.paragraph("The KL of the time-steps is not finite.", "note")
    total = sum(kl["mean"])
    spec = {
        "kind": "bars",
        "follow": True,
        "x": {"label": "time-step"},
        "y": {"label": "nats"},
        "names": [str(step) for step in range(1, len(kl["mean"]) + 1)],
        "values": [round(value, 4) for value in kl["mean"]],
    }
    return markup.chart(
        "What each step tells of a test image",
        spec,
        caption=f"KL of each step's latents from the prior, the mean over the test split; {total:.2f} nats in all.",
        kind="short",
    )
