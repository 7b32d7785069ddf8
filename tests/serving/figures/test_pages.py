"""What is on a page: images where they belong, and no word that is cut off or lies on another."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from serving.figures import attention, costs, samples, sequences
from serving.figures.events import Curve
from serving.figures.page import DOTS_PER_INCH, MARGIN, Page, Words, style

RNG = np.random.default_rng(1)
WORDS = Words(
    title="What the transposed filters put back", paper="Fig. 10", source="a_task: of a title. Model 7, 150,000 steps."
)
WINDOW = np.stack([RNG.uniform(0, 50, (8, 64)), RNG.uniform(0, 50, (8, 64)), *RNG.uniform(0.5, 9, (3, 8, 64))], axis=-1)


def _images(*shape: int) -> np.ndarray:
    return RNG.uniform(size=shape)


def _costs() -> Page:
    step = np.arange(1, 150_001, 500)
    training = Curve(step, 5_000 + 3_000 / np.sqrt(step))
    return costs.costs(WORDS, training, Curve(step[10::10], training.value[10::10]), unit="nats an image", remark="")


PAGES: dict[str, Callable[[], Page]] = {
    "drawings": lambda: sequences.generation(WORDS, _images(8, 64, 28, 28, 1), WINDOW, 5),
    "wide drawings in colour": lambda: sequences.generation(WORDS, _images(8, 3, 20, 300, 3), WINDOW[:, :3], 5),
    "drawings without attention": lambda: sequences.generation(WORDS, _images(8, 5, 9, 7, 1), None, 0),
    "glimpses": lambda: sequences.glimpses(
        WORDS,
        _images(6, 100, 100, 1),
        WINDOW[:6, :8],
        12,
        label=range(6),
        found=[0, 2, 2, 2, 4, 5],
        probability=WINDOW[0],
    ),
    "patches": lambda: attention.patches(WORDS, _images(3, 54, 54, 3), WINDOW[:3, :32], 12),
    "put back": lambda: attention.put_back(WORDS, _images(3, 28, 28, 1), attention.most_zoomed(WINDOW[:3]), 2),
    "samples": lambda: samples.samples(WORDS, _images(80, 28, 28, 1), 10, (_images(8, 28, 28, 1), np.full(8, 88.88))),
    "samples alone": lambda: samples.samples(WORDS, _images(80, 54, 54, 3), 10),
    "costs": _costs,
}


@pytest.mark.parametrize("kind", PAGES)
def test_words_are_whole_and_apart(kind: str) -> None:
    page = PAGES[kind]()
    with style:
        page.figure.draw_without_rendering()
        width, height = page.figure.get_size_inches() * DOTS_PER_INCH
        assert width <= 6.5 * DOTS_PER_INCH
        boxes = {}
        for text in page.figure.findobj(Text):
            if text.get_text().strip() and text.get_visible():
                boxes[text] = text.get_window_extent()
    for text, box in boxes.items():
        assert box.x0 >= MARGIN / 2 and box.x1 <= width - MARGIN / 2, text
        assert box.y0 >= MARGIN / 2 and box.y1 <= height - 20, text
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 8 or b.y1 <= a.y0 + 8
        assert apart, (one, other)


def test_an_image_is_shown_pixel_by_pixel_and_its_window_where_it_is() -> None:
    canvas = np.round(_images(1, 2, 28, 28, 1))
    window = np.array([[[20.0, 10.0, 2.0, 1.0, 1.0], [5.0, 5.0, 1.0, 4.0, 1.0]]])
    page = sequences.generation(WORDS, canvas, window, 5)
    first, second, last = page.figure.axes
    (outline,) = (patch for patch in first.patches if isinstance(patch, Rectangle))
    assert outline.get_bbox().extents.tolist() == [16, 6, 24, 14]
    # Half the precision is nearer to the least of all borders.
    assert outline.get_linewidth() > second.patches[0].get_linewidth() > 0.5
    assert not last.patches
    with style:
        page.figure.canvas.draw()
        shown = np.asarray(page.figure.canvas.buffer_rgba())[..., 0]
        left, bottom, right, top = np.rint(last.get_window_extent().extents).astype(int)
    block = shown[shown.shape[0] - top : shown.shape[0] - bottom, left:right]
    pixel = (right - left) // 28
    assert block.shape == (28 * pixel, 28 * pixel)
    np.testing.assert_array_equal(block, 255 * canvas[0, -1, ..., 0].repeat(pixel, axis=0).repeat(pixel, axis=1))
