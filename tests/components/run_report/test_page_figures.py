"""Tiles and players as the page's script and style take them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from components.run_report import page_figures


def test_each_tile_shows_its_image_by_css_arithmetic() -> None:
    images = np.random.default_rng(5).integers(0, 256, (5, 3, 700, 3), np.uint8)
    tiles = page_figures.tiles(images)
    assert (tiles.columns, tiles.rows) == (2, 3)
    sprite = np.asarray(Image.open(io.BytesIO(base64.b64decode(tiles.sprite.partition(",")[2]))))
    for image, position in zip(images, tiles.positions, strict=True):
        # In CSS, p% puts the point at p% of the background on the point at p% of the box.
        across, down = (float(share.rstrip("%")) / 100 for share in position.split())
        left, top = round(across * (sprite.shape[1] - 700)), round(down * (sprite.shape[0] - 3))
        np.testing.assert_array_equal(sprite[top : top + 3, left : left + 700], image)


def test_a_players_rectangle_reaches_from_the_first_filter_to_the_last_and_the_sharpest_is_one() -> None:
    windows = np.array([[[4.0, 3.0, 2.0, 1.0, 1.0], [0.0, 0.0, 1.0, 4.0, 1.0]]])
    player = page_figures.player(np.zeros((1, 1, 7, 5, 1), np.uint8), {"window": (windows, 3)})
    assert player.spec["windows"] == [[[[2, 1, 6, 5, 1], [-1, -1, 1, 1, 0.5]]]]
    assert (player.spec["frames"], player.spec["steps"]) == (1, 2)


def test_a_figure_has_no_more_pictures_than_the_page_affords_but_two() -> None:
    counts = [page_figures.affordable_count(12, values) for values in (784, 200_000, 10_000_000)]
    assert counts == [12, 6, 2]
