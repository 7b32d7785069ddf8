"""The animation of a drawing: its frames, its rectangles, and the precision that their borders tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.pictures.animation import write_animation

RED = (224, 32, 32)


def _frames(path: Path) -> tuple[np.ndarray, list[int]]:
    """[frames, H, W, 3] and their milliseconds."""
    with Image.open(path) as animation:
        frames, durations = [], []
        for number in range(animation.n_frames):
            animation.seek(number)
            frames.append(np.asarray(animation.convert("RGB")))
            durations.append(animation.info["duration"])
    return np.stack(frames), durations


def _red(frame: np.ndarray) -> np.ndarray:
    return (frame == RED).all(axis=-1)


def test_frames_are_the_canvas_and_the_rectangle_lies_where_the_window_is(tmp_path: Path) -> None:
    # 28 rows, 42 columns: a pixel of the image is 6 x 6 in the picture.
    canvas = np.stack([np.full((28, 42, 1), level, np.float32) for level in (0.2, 0.4, 0.8)])[None]
    window = np.array([[[20, 10, 2.0, 1, 1], [5, 20, 1.0, 1, 1], [30, 7, 3.0, 1, 1]]], np.float32)
    write_animation(tmp_path / "drawing.gif", canvas, window, window_size=5, frame_seconds=0.2, last_seconds=3.0)
    frames, durations = _frames(tmp_path / "drawing.gif")
    assert frames.shape == (4, 168, 252, 3)
    assert durations == [200, 200, 200, 3000]
    for frame, level, (x, y, stride, *_) in zip(frames, (0.2, 0.4, 0.8), window[0], strict=False):
        # Five filters reach two strides to either side; (0, 0) is the centre of the first pixel.
        ys, xs = np.nonzero(_red(frame))
        assert xs.min() == pytest.approx((x - 2 * stride + 0.5) * 6, abs=1)
        assert xs.max() == pytest.approx((x + 2 * stride + 0.5) * 6, abs=1)
        assert ys.min() == pytest.approx((y - 2 * stride + 0.5) * 6, abs=1)
        assert ys.max() == pytest.approx((y + 2 * stride + 0.5) * 6, abs=1)
        # Within and without it, the canvas.
        assert not _red(frame)[int((y + 0.5) * 6), int((x + 0.5) * 6)]
        assert abs(int(frame[0, 0, 0]) - 255 * level) <= 1
    assert not _red(frames[3]).any()
    assert abs(int(frames[3, 0, 0, 0]) - 204) <= 1


def test_the_more_precise_the_window_the_wider_its_border(tmp_path: Path) -> None:
    variance = np.array([[1.0, 0.25, 16.0, 1e9]])
    canvas = np.zeros((1, 3, 28, 28, 1), np.float32)
    window = np.stack([np.full(3, 13), np.full(3, 13), np.full(3, 4), variance[0, :3], np.ones(3)], axis=1)[None]
    write_animation(tmp_path / "drawing.gif", canvas, window, window_size=4)
    frames, _ = _frames(tmp_path / "drawing.gif")
    middle = [_red(frame)[int(13.5 * 6)] for frame in frames]
    assert [int(row.sum()) for row in middle] == [8, 16, 2, 0]


def test_drawings_stand_side_by_side_and_keep_their_colours(tmp_path: Path) -> None:
    canvas = np.zeros((3, 2, 56, 84, 3), np.float32)
    canvas[1, :, :, :, 1] = 1.0
    canvas[2, :, :, :, 2] = 0.6
    write_animation(tmp_path / "drawing.gif", canvas, None, window_size=None, columns=2)
    frames, _ = _frames(tmp_path / "drawing.gif")
    # Two columns of 252, two rows of 168, gaps of 4.
    assert frames.shape[1:] == (340, 508, 3)
    assert tuple(frames[0, 80, 100]) == (0, 0, 0)
    assert tuple(frames[0, 80, 400]) == (0, 255, 0)
    assert tuple(frames[0, 300, 100]) == (0, 0, 153)
    assert tuple(frames[0, 300, 400]) == tuple(frames[0, 80, 254])


def test_a_window_far_outside_is_no_accident(tmp_path: Path) -> None:
    canvas = np.zeros((1, 2, 28, 28, 1), np.float32)
    window = np.array([[[1e12, -1e12, 1e9, 1e-30, 1], [14, 14, 2, 1, 1]]], np.float32)
    write_animation(tmp_path / "drawing.gif", canvas, window, window_size=3)
    assert not _red(_frames(tmp_path / "drawing.gif")[0][0]).any()


def test_a_gif_keeps_every_colour_of_a_drawing_of_few_and_comes_close_to_those_of_many(tmp_path: Path) -> None:
    greys = np.arange(200).reshape(1, 1, 10, 20, 1).repeat(2, axis=1) / 255
    write_animation(tmp_path / "few.gif", greys, None, window_size=None)
    frames, _ = _frames(tmp_path / "few.gif")
    np.testing.assert_array_equal(frames[0, 8::17, 8::17, 1], np.arange(200).reshape(10, 20))
    many = np.random.default_rng(4).uniform(size=(1, 2, 40, 42, 3)).astype(np.float32)
    write_animation(tmp_path / "many.gif", many, None, window_size=None)
    frames, _ = _frames(tmp_path / "many.gif")
    error = np.abs(frames[:2, 2::5, 2::5].astype(float) - 255 * many[0])
    # Of 254 colours for a whole cube: six or seven levels a channel, 36 to 42 apart.
    assert error.mean() < 16


def test_a_webp_is_the_same_in_all_colours(tmp_path: Path) -> None:
    canvas = np.random.default_rng(2).uniform(size=(1, 3, 56, 84, 3)).astype(np.float32)
    window = np.array([[[20, 10, 2.0, 1, 1], [5, 20, 1.0, 1, 1], [30, 7, 3.0, 1, 1]]], np.float32)
    write_animation(tmp_path / "drawing.webp", canvas, window, window_size=5, frame_seconds=0.2, last_seconds=3.0)
    frames, durations = _frames(tmp_path / "drawing.webp")
    assert frames.shape == (4, 168, 252, 3) and durations == [200, 200, 200, 3000]
    expected = np.rint(255 * canvas[0]).repeat(3, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(frames[3], expected[2])
    np.testing.assert_array_equal(frames[:3][~_red(frames[:3])], expected[~_red(frames[:3])])
    assert _red(frames[:3]).any(axis=(1, 2)).all()


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither \.gif nor \.webp"):
        write_animation(tmp_path / "a.png", np.zeros((1, 2, 8, 8, 1)), None, window_size=None)


def test_windows_without_their_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="size N is not known"):
        write_animation(tmp_path / "a.gif", np.zeros((1, 2, 8, 8, 1)), np.zeros((1, 2, 5)), window_size=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("count", "columns", "rows_and_columns"),
    [(8, None, (2, 4)), (9, None, (3, 3)), (3, None, (1, 3)), (7, None, (3, 3)), (1, None, (1, 1)), (8, 8, (1, 8))],
)
def test_rows_are_full_where_they_can_be(
    tmp_path: Path, count: int, columns: int | None, rows_and_columns: tuple[int, int]
) -> None:
    canvas = np.zeros((count, 1, 84, 84, 1), np.float32)
    write_animation(tmp_path / "drawing.webp", canvas, None, window_size=None, columns=columns)
    frames, _ = _frames(tmp_path / "drawing.webp")
    rows, across = rows_and_columns
    assert frames.shape[1:3] == (172 * rows - 4, 172 * across - 4)
