"""The sheet of samples, drawn by a real SavedModel of few lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving.pictures.sample_sheet import write_sample_sheet


class _Painter(tf.Module):
    """An image of one colour for each seed: its first channel tells the seed's second number, in tenths."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self._shape = shape

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int64, name="seed")])
    def sample(self, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        colour = tf.cast(seed[:, 1], tf.float32) / 10
        channel = tf.range(1, self._shape[2] + 1, dtype=tf.float32)
        image = colour[:, None, None, None] / channel * tf.ones(self._shape)
        return {"image": image + tf.cast(seed[:, 0], tf.float32)[:, None, None, None]}


def _export(path: Path, shape: tuple[int, int, int], signature: str = "sample") -> Path:
    painter = _Painter(shape)
    tf.saved_model.save(painter, str(path), signatures={signature: painter.sample})
    return path


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_images_stand_in_rows_each_pixel_a_square(tmp_path: Path, channels: int, mode: str) -> None:
    sheet_path = tmp_path / "new" / "sheet.png"
    write_sample_sheet(_export(tmp_path / "model", (28, 30, channels)), sheet_path, rows=2, columns=3, seed=0)
    with Image.open(sheet_path) as sheet:
        assert sheet.mode == mode
        # Twice 30 x 28, three by two, with a gap of 2 around each.
        assert sheet.size == (3 * 62 + 2, 2 * 58 + 2)
        pixels = np.asarray(sheet).reshape(118, 188, channels)
    for row in range(2):
        for column in range(3):
            block = pixels[2 + 58 * row :, 2 + 62 * column :][:56, :60]
            tenths = 3 * row + column
            expected = [round(255 * tenths / 10 / channel) for channel in range(1, channels + 1)]
            np.testing.assert_array_equal(block, np.broadcast_to(expected, block.shape))
    assert (pixels[58:60] == pixels[0, 0]).all() and (pixels[:, 62:64] == pixels[0, 0]).all()


def test_values_beyond_the_range_are_clipped(tmp_path: Path) -> None:
    write_sample_sheet(_export(tmp_path / "model", (8, 8, 1)), tmp_path / "sheet.png", rows=1, columns=1, seed=5)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.getpixel((10, 10)) == 255


def test_a_model_that_cannot_sample_is_refused(tmp_path: Path) -> None:
    model_dir = _export(tmp_path / "model", (8, 8, 1), signature="classify")
    with pytest.raises(ValueError, match=r"no signature 'sample', only \['classify'\]: only a generative"):
        write_sample_sheet(model_dir, tmp_path / "sheet.png", rows=1, columns=1, seed=0)


def test_an_empty_sheet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1 row"):
        write_sample_sheet(tmp_path, tmp_path / "sheet.png", rows=0, columns=4, seed=0)


def test_a_sheet_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_dir = _export(tmp_path / "model", (8, 8, 1))
    sheet_path = tmp_path / "sheets" / "sheet.png"

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on the device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="no space"):
        write_sample_sheet(model_dir, sheet_path, rows=1, columns=1, seed=0)
    assert list(sheet_path.parent.iterdir()) == []
