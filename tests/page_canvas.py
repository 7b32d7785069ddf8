"""The canvases of the live page and of the page in the browser, as a test sees and uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def pixels(canvas: Locator) -> np.ndarray:
    """[H, W, 3] uint8: what a canvas shows."""
    numbers, rows, columns = canvas.evaluate(
        "c => [[...c.getContext('2d').getImageData(0, 0, c.width, c.height).data], c.height, c.width]"
    )
    return np.array(numbers, np.uint8).reshape(rows, columns, 4)[..., :3]


def shows(canvas: Locator, image: np.ndarray) -> None:
    """Fails where a canvas does not show the image [H, W, C], in [0, 1]."""
    np.testing.assert_allclose(pixels(canvas), np.broadcast_to(255 * image, (*image.shape[:2], 3)), atol=0.51)


def stroke(page: Page) -> np.ndarray:
    """Draws a line over the pad; returns the image [1, H, W, 1] that is on it then."""
    pad = page.locator("canvas.pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.8 * box["height"], steps=5)
    page.mouse.up()
    image = pixels(pad)[None, ..., :1] / np.float32(255)
    assert set(np.unique(image)) == {0, 1} and image.mean() < 0.7
    return image.astype(np.float32)
