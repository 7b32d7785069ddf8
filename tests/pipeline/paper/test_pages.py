"""What is on a page: images where they belong, and no word that is cut off or lies on another."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from components.run_report.event_curves import Curve
from pipeline.paper import attention_figure, cost_figure, sample_figure, sequence_figure
from pipeline.paper.figure_page import DOTS_PER_INCH, MARGIN, Caption, Page, style

RNG = np.random.default_rng(1)
CAPTION = Caption(
    title="What the transposed filters put back", paper="Fig. 10", source="a_task: of a title. Model 7, 150,000 steps."
)
WINDOW = np.stack([RNG.uniform(0, 50, (8, 64)), RNG.uniform(0, 50, (8, 64)), *RNG.uniform(0.5, 9, (3, 8, 64))], axis=-1)


def _images(*shape: int) -> np.ndarray:
    return RNG.uniform(size=shape)


@style
def _shown(page: Page) -> np.ndarray:
    """Its red channel."""
    page.figure.canvas.draw()
    return np.asarray(page.figure.canvas.buffer_rgba())[..., 0]


def _costs() -> Page:
    step = np.arange(1, 150_001, 500)
    training = Curve(step, 5_000 + 3_000 / np.sqrt(step))
    return cost_figure.costs(
        CAPTION, training, Curve(step[10::10], training.values[10::10]), unit="nats an image", remark=""
    )


PAGES: dict[str, Callable[[], Page]] = {
    "drawings": lambda: sequence_figure.generation(CAPTION, _images(8, 64, 28, 28, 1), WINDOW, 5),
    "wide drawings in colour": lambda: sequence_figure.generation(CAPTION, _images(8, 3, 20, 300, 3), WINDOW[:, :3], 5),
    "drawings without attention": lambda: sequence_figure.generation(CAPTION, _images(8, 5, 9, 7, 1), None, 0),
    "glimpses": lambda: sequence_figure.glimpses(
        CAPTION,
        _images(6, 100, 100, 1),
        WINDOW[:6, :8],
        12,
        label=np.arange(6),
        predicted=np.array([0, 2, 2, 2, 4, 5]),
        probability=np.ones(6),
    ),
    "patches": lambda: attention_figure.patches(CAPTION, _images(3, 54, 54, 3), WINDOW[:3, :32], 12),
    "put back": lambda: attention_figure.put_back(
        CAPTION, _images(3, 28, 28, 1), attention_figure.most_zoomed(WINDOW[:3]), 2
    ),
    "samples": lambda: sample_figure.samples(
        CAPTION, _images(80, 28, 28, 1), 10, (_images(8, 28, 28, 1), np.full(8, 88.88))
    ),
    "samples alone": lambda: sample_figure.samples(CAPTION, _images(80, 54, 54, 3), 10),
    "costs": _costs,
}


@pytest.mark.parametrize("kind", PAGES)
def test_words_are_whole_and_apart(kind: str) -> None:
    page = PAGES[kind]()
    _shown(page)
    width, height = page.figure.get_size_inches() * DOTS_PER_INCH
    assert width <= 6.5 * DOTS_PER_INCH
    texts = [text for text in page.figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    boxes = {text: text.get_window_extent() for text in texts}
    assert len(boxes) >= 4
    for text, box in boxes.items():
        assert box.x0 >= MARGIN / 2 and box.x1 <= width - MARGIN / 2, text
        assert box.y0 >= MARGIN / 2 and box.y1 <= height - 20, text
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 + 8 or b.y1 <= a.y0 + 8
        assert apart, (one, other)


def test_an_image_is_shown_pixel_by_pixel_and_its_window_where_it_is() -> None:
    canvas = np.round(_images(1, 2, 28, 28, 1))
    window = np.array([[[20.0, 10.0, 2.0, 1.0, 1.0], [5.0, 5.0, 1.0, 4.0, 1.0]]])
    page = sequence_figure.generation(CAPTION, canvas, window, 5)
    (axes,) = page.figure.axes
    first, second = (patch for patch in axes.patches if isinstance(patch, Rectangle))
    # Half the precision is nearer to the least of all borders.
    assert first.get_linewidth() > second.get_linewidth() > 0.5
    shown = _shown(page)
    # Three images of 280 dots; the finished one stands apart.
    blocks = []
    for picture in page.figure.images:
        assert picture.get_size() == (280, 280)
        blocks.append(shown[shown.shape[0] - picture.oy - 280 :, picture.ox :][:280, :280])
    np.testing.assert_array_equal(blocks[2], 255 * canvas[0, 1, ..., 0].repeat(10, axis=0).repeat(10, axis=1))
    # The filters reach two strides of two pixels from (20, 10), and the border half its width to either side.
    changed = blocks[0] != 255 * canvas[0, 0, ..., 0].repeat(10, axis=0).repeat(10, axis=1)
    rows, columns = np.nonzero(changed)
    border = (first.get_linewidth() + 0.5) * DOTS_PER_INCH / 72 / 2
    assert columns.min() == pytest.approx(165 - border, abs=1.5) and columns.max() == pytest.approx(
        245 + border, abs=1.5
    )
    assert rows.min() == pytest.approx(65 - border, abs=1.5) and rows.max() == pytest.approx(145 + border, abs=1.5)
    assert not changed[75:136, 175:236].any()
