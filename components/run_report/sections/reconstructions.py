"""How a generative model draws after test images: what it reads, what it writes, and what comes of it."""

from __future__ import annotations

import math

import numpy as np

from components.run_report import attention_map, markup
from components.run_report.model import seeds
from components.run_report.run import Run
from components.run_report.sprite import to_bytes
from trainer.task import Attention, GenerativeTask

_PLAYED = 6
_PAIRS = 24


def body(run: Run) -> str:
    """The drawing after an image beside it, and pairs."""
    task = run.task
    assert isinstance(task, GenerativeTask)
    numbers = math.prod(task.image_shape)
    originals = run.images(task.data.test).pixels
    count = min(len(originals), markup.affordable(_PLAYED, 2 * task.glimpses * numbers))
    drawn = run.model.ask(
        "reconstruct", ("canvas", "read_window", "write_window"), image=originals[:count], seed=seeds(count)
    )
    frames = to_bytes(drawn["canvas"])
    windows = {}
    caption = "Left a test image, right the canvas that is drawn after it."
    if isinstance(task.attention, Attention):
        windows = {
            "read window": attention_map.rectangles(drawn["read_window"], task.attention.read),
            "write window": attention_map.rectangles(drawn["write_window"], task.attention.write),
        }
        caption += " The model looks through the one rectangle and writes into the other."
    beside = np.concatenate([np.broadcast_to(originals[:count, None], frames.shape), frames], axis=3)
    player = markup.player(beside, windows, title="Read and write", caption=caption, parts=2)
    several = min(len(originals), markup.affordable(_PAIRS, 2 * numbers))
    copies = run.model.ask("reconstruct", ("image",), image=originals[:several], seed=seeds(several))["image"]
    pairs = np.concatenate([originals[:several], to_bytes(copies)], axis=2)
    return player + markup.tiles(
        pairs,
        f"The first {several} test images, each with its reconstruction on the right.",
        describe="test image and reconstruction",
        smallest=116,
    )
