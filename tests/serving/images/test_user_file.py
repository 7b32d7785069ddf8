"""A user's images, read as a model takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.images.bad_image import BadImage
from serving.images.image_format import ImageFormat
from serving.images.user_file import read_images

GREY = ImageFormat(shape=(7, 5, 1), binary=False)
BINARY = ImageFormat(shape=(7, 5, 1), binary=True)
COLOUR = ImageFormat(shape=(7, 5, 3), binary=False)
SHAPE = GREY.shape


def _save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("shape", [(4, 7, 5, 1), (4, 7, 5), (7, 5, 1), (7, 5)])
def test_axes_of_one_may_be_left_out(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).uniform(size=shape)
    images = read_images(_save(tmp_path / "images.npy", array), GREY)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, array.astype(np.float32).reshape(-1, *SHAPE))


def test_a_square_of_colour_is_no_batch_of_greys(tmp_path: Path) -> None:
    array = np.random.default_rng(0).uniform(size=COLOUR.shape)
    np.testing.assert_array_equal(read_images(_save(tmp_path / "i.npy", array), COLOUR), array.astype(np.float32)[None])


@pytest.mark.parametrize(
    ("array", "binary", "expected"),
    [
        (np.full((2, 7, 5), 51, np.uint8), False, 0.2),
        (np.full((2, 7, 5), 255, np.int64), True, 1.0),
        (np.full((2, 7, 5), 1, np.uint8), True, 1.0),
        (np.full((2, 7, 5), 1, np.uint8), False, 1 / 255),
        (np.full((2, 7, 5), True), False, 1.0),
        (np.full((2, 7, 5), 0.25, np.float16), False, 0.25),
    ],
)
def test_integers_are_divided_where_they_are_no_bits(
    tmp_path: Path, array: np.ndarray, binary: bool, expected: float
) -> None:
    images = read_images(_save(tmp_path / "images.npy", array), BINARY if binary else GREY)
    np.testing.assert_array_equal(images, np.full((2, *SHAPE), np.float32(expected)))


def test_an_archive_gives_its_only_array_or_that_named_image(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 7, 5), np.uint8)
    np.savez(tmp_path / "one.npz", anything=images)
    np.savez(tmp_path / "two.npz", image=images, label=np.arange(3))
    np.savez(tmp_path / "none.npz", p=images, q=images)
    for name in ("one", "two"):
        read = read_images(tmp_path / f"{name}.npz", GREY)
        np.testing.assert_array_equal(read[..., 0], images.astype(np.float32) / 255)
    with pytest.raises(BadImage, match=r"arrays \['p', 'q'\]; expected one, or one with the name 'image'"):
        read_images(tmp_path / "none.npz", GREY)


def test_a_picture_is_one_image_of_the_models_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (7, 5, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_images(tmp_path / "colour.png", COLOUR)[0], pixels.astype(np.float32) / 255)
    grey = read_images(tmp_path / "grey.png", GREY)
    np.testing.assert_array_equal(grey[0, ..., 0], pixels[..., 0].astype(np.float32) / 255)
    assert read_images(tmp_path / "colour.png", GREY).shape == (1, *SHAPE)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 5, 7)), r": its array has the shape \[2, 5, 7\]; expected \[n, 7, 5, 1\] or \[n, 7, 5\]"),
        (np.zeros((0, 7, 5)), r" holds no images; expected at least one of \[7, 5, 1\]"),
        (np.zeros((2, 7, 5, 3)), r": its array has the shape \[2, 7, 5, 3\]"),
        (np.full((2, 7, 5), 1.5), ", row 0: its pixels reach from 1.5 to 1.5; expected floats from 0 to 1"),
        (np.full((2, 7, 5), 256), ", row 0: .* from 256 to 256; expected integers from 0 to 255"),
        (np.full((2, 7, 5), 1j), "its pixels are complex128; expected"),
    ],
)
def test_what_the_model_does_not_take_is_named(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = _save(tmp_path / "images.npy", array)
    with pytest.raises(BadImage, match=f"^{path}.*{message}"):
        read_images(path, GREY)


def test_a_row_that_the_model_does_not_take_is_named(tmp_path: Path) -> None:
    array = np.zeros((4, 7, 5))
    array[2, 1, 1] = np.nan
    path = _save(tmp_path / "images.npy", array)
    with pytest.raises(BadImage, match=f"^{path}, row 2: its pixels reach from nan"):
        read_images(path, GREY)


@pytest.mark.parametrize("name", ["text.png", "text.npy", "text.npz", "text.unknown", "objects.npy", "missing.png"])
def test_a_file_that_holds_no_images_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.startswith("text"):
        path.write_text("no image")
    elif name.startswith("objects"):
        np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(BadImage, match=f"^{path}.*: (it cannot be read|it is no picture|from here on)"):
        read_images(path, GREY)
