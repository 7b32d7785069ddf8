"""Sheets of images: where images and frames lie, and what is between them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.pictures import png, sheet

VERMILION = (213, 94, 0)


def test_images_of_a_sheet_stand_in_their_rows_each_pixel_a_square() -> None:
    images = np.random.default_rng(0).uniform(size=(2, 3, 28, 30, 1))
    pixels = sheet.sheet(images)
    assert pixels.dtype == np.uint8 and pixels.shape == (2 * 58 + 2, 3 * 62 + 2, 1)
    for row, column in np.ndindex(2, 3):
        block = pixels[2 + 58 * row :, 2 + 62 * column :][:56, :60, 0]
        expected = np.rint(255 * images[row, column, ..., 0]).repeat(2, axis=0).repeat(2, axis=1)
        np.testing.assert_array_equal(block, expected)
    assert (pixels[58:60] == 96).all() and (pixels[:, 62:64] == 96).all() and (pixels[:2] == 96).all()
    np.testing.assert_array_equal(sheet.sheet_in_rows(images.reshape(6, 28, 30, 1), 3), pixels)


def test_a_frame_lies_around_the_filters_centres_the_wider_the_more_precise() -> None:
    # 28 rows, 42 columns: a pixel is 2 x 2. N = 4 reaches one and a half strides to either side.
    windows = np.array([[[20, 10, 4.0, 1.0, 1], [5, 20, 2.0, 9.0, 1], [1e12, -1e12, 1e9, 1e30, 1]]])
    pixels = sheet.sheet(np.zeros((1, 3, 28, 42, 1)), windows, filters=4)
    framed = (pixels == VERMILION).all(axis=-1)[2:, 2:]
    for column, (x, y, stride, border) in enumerate(((20, 10, 4, 3), (5, 20, 2, 1))):
        image = framed[:, 86 * column : 86 * column + 84]
        ys, xs = np.nonzero(image)
        assert (xs.min(), xs.max() + 1) == (2 * (x - 1.5 * stride + 0.5), 2 * (x + 1.5 * stride + 0.5))
        assert (ys.min(), ys.max() + 1) == (2 * (y - 1.5 * stride + 0.5), 2 * (y + 1.5 * stride + 0.5))
        assert image[2 * y].sum() == 2 * border
    assert not framed[:, 172:].any()


def test_images_are_tiled_with_gaps_an_edge_and_a_filled_rest() -> None:
    images = np.arange(1, 4, dtype=np.uint8)[:, None, None] * np.ones((3, 2, 3), np.uint8)
    expected = [
        [9, 9, 9, 9, 9, 9, 9, 9, 9],
        [9, 1, 1, 1, 9, 2, 2, 2, 9],
        [9, 1, 1, 1, 9, 2, 2, 2, 9],
        [9, 9, 9, 9, 9, 9, 9, 9, 9],
        [9, 3, 3, 3, 9, 9, 9, 9, 9],
        [9, 3, 3, 3, 9, 9, 9, 9, 9],
        [9, 9, 9, 9, 9, 9, 9, 9, 9],
    ]
    np.testing.assert_array_equal(sheet.tile(images, 2, gap=1, edge=1, fill=9), expected)
    np.testing.assert_array_equal(sheet.tile(images, 2), [[1, 1, 1, 2, 2, 2]] * 2 + [[3, 3, 3, 0, 0, 0]] * 2)


def test_bytes_stay_and_means_are_clipped() -> None:
    np.testing.assert_array_equal(sheet.to_bytes(np.array([-1.0, 0.5, 1.7])), [0, 128, 255])
    np.testing.assert_array_equal(sheet.to_bytes(np.array([0, 1, 255], np.uint8)), [0, 1, 255])


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_come_back_from_a_png_and_from_a_page(channels: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 4, channels)).astype(np.uint8)
    png.save_png(pixels, tmp_path / "new" / "a.png")
    head, _, encoded = png.data_uri(pixels).partition(",")
    assert head == "data:image/png;base64"
    for file in (tmp_path / "new" / "a.png", io.BytesIO(base64.b64decode(encoded))):
        with Image.open(file) as picture:
            np.testing.assert_array_equal(np.asarray(picture).reshape(pixels.shape), pixels)
    assert (tmp_path / "new" / "a.png").stat().st_mode & 0o777 == 0o644


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"before")

    def write(file: io.BufferedWriter) -> None:
        file.write(b"half")
        raise OSError("no space left on the device")

    with pytest.raises(OSError, match="no space"):
        png.save_whole(tmp_path / "a", write)
    with pytest.raises(OSError, match=r"^Cannot write .*/a/below/b, for its folder cannot be made: Not a directory"):
        png.save_whole(tmp_path / "a" / "below" / "b", write)
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"before"
