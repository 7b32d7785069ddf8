"""A user's images, read as a model takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.image_files import BadImages, read_images

SHAPE = (7, 5, 1)
COLOUR = (7, 5, 3)


def _save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("shape", [(4, 7, 5, 1), (4, 7, 5), (7, 5, 1), (7, 5)])
def test_axes_of_one_may_be_left_out(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).uniform(size=shape)
    images = read_images(_save(tmp_path / "images.npy", array), SHAPE)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, array.astype(np.float32).reshape(-1, *SHAPE))


def test_a_square_of_colour_is_no_batch_of_greys(tmp_path: Path) -> None:
    array = np.random.default_rng(0).uniform(size=COLOUR)
    np.testing.assert_array_equal(read_images(_save(tmp_path / "i.npy", array), COLOUR), array.astype(np.float32)[None])


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((2, 7, 5), 51, np.uint8), 0.2),
        (np.full((2, 7, 5), 255, np.int64), 1.0),
        (np.full((2, 7, 5), 1, np.uint8), 1.0),
        (np.full((2, 7, 5), True), 1.0),
        (np.full((2, 7, 5), 0.25, np.float16), 0.25),
    ],
)
def test_integers_are_divided_where_they_are_not_0_and_1(tmp_path: Path, array: np.ndarray, expected: float) -> None:
    images = read_images(_save(tmp_path / "images.npy", array), SHAPE)
    np.testing.assert_array_equal(images, np.full((2, *SHAPE), np.float32(expected)))


def test_an_archive_gives_its_only_array_or_that_named_image(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 7, 5), np.uint8)
    np.savez(tmp_path / "one.npz", anything=images)
    np.savez(tmp_path / "two.npz", image=images, label=np.arange(3))
    np.savez(tmp_path / "none.npz", x=images, y=images)
    for name in ("one", "two"):
        read = read_images(tmp_path / f"{name}.npz", SHAPE)
        np.testing.assert_array_equal(read[..., 0], images.astype(np.float32) / 255)
    with pytest.raises(BadImages, match=r"arrays \['x', 'y'\]; expected one, or one with the name 'image'"):
        read_images(tmp_path / "none.npz", SHAPE)


def test_a_picture_is_one_image_of_the_models_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (7, 5, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_images(tmp_path / "colour.png", COLOUR)[0], pixels.astype(np.float32) / 255)
    grey = read_images(tmp_path / "grey.png", SHAPE)
    np.testing.assert_array_equal(grey[0, ..., 0], pixels[..., 0].astype(np.float32) / 255)
    assert read_images(tmp_path / "colour.png", SHAPE).shape == (1, *SHAPE)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((2, 5, 7)),
            r"holds float64 \[2, 5, 7\]; the model takes \[n, 7, 5, 1\] or \[n, 7, 5\], n at least 1",
        ),
        (np.zeros((0, 7, 5)), r"float64 \[0, 7, 5, 1\]"),
        (np.zeros((2, 7, 5, 3)), r"\[2, 7, 5, 3\]"),
        (np.full((2, 7, 5), 1.5), "floats from 1.5 to 1.5; expected 0 to 1"),
        (np.full((2, 7, 5), -0.1), "floats from -0.1"),
        (np.full((2, 7, 5), np.nan), "floats from nan to nan"),
        (np.full((2, 7, 5), 256), "256 to 256; expected integers from 0 to 255"),
        (np.full((2, 7, 5), -1), "-1 to -1"),
        (np.full((2, 7, 5), 1j), "complex128; expected"),
    ],
)
def test_what_the_model_does_not_take_is_told(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = _save(tmp_path / "images.npy", array)
    with pytest.raises(BadImages, match=f"^{path} holds .*{message}|^{path} {message}"):
        read_images(path, SHAPE)


@pytest.mark.parametrize("name", ["text.png", "text.npy", "text.npz", "objects.npy", "missing.png"])
def test_a_file_that_holds_no_images_is_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("text"):
        path.write_text("no image")
    elif name.startswith("objects"):
        np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(BadImages, match=f"^{path} (cannot be read|is no picture)"):
        read_images(path, SHAPE)
