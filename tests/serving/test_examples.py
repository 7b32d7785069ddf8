"""Images, ids and labels of tf.Examples in TFRecord files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving import examples
from serving.images.bad_image import BadImage
from serving.images.example_features import ExampleFeatures
from serving.images.image_format import ImageFormat
from tests import tiny

GREY = ImageFormat(shape=(3, 2, 1), margin=(2, 3), binary=False)
COUNT = 300


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """[300, 5, 5, 1] uint8."""
    return np.random.default_rng(4).integers(0, 256, (COUNT, 5, 5, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def file(images: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("examples") / "data-00000.gz"
    tiny.write_records(path, [tiny.serialize(image, f"e{n}", n % 10) for n, image in enumerate(images)])
    return str(path)


def _example(**features: object) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _bytes(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def test_the_features_of_an_example() -> None:
    features = ExampleFeatures(tiny.serialize(np.arange(6, dtype=np.uint8).reshape(3, 2, 1), "a-1", 7))
    assert (features.id, features.image, features.label) == (b"a-1", bytes(range(6)), 7)
    bare = ExampleFeatures(_example(image=_bytes(b"ab"), id=_bytes(b"1", b"2")))
    assert bare.label is None and bare.image == b"ab"
    with pytest.raises(BadImage, match="feature 'id' has 2 byte strings; expected 1"):
        _ = bare.id
    with pytest.raises(BadImage, match="no feature 'image'; it has none"):
        _ = ExampleFeatures(_example()).image
    with pytest.raises(BadImage, match=r"is no tf\.Example"):
        ExampleFeatures(b"\xff")


def test_the_centre_of_each_image_is_read_in_order(file: str, images: np.ndarray) -> None:
    read = examples.read_first([file, file], GREY, COUNT + 2)
    centres = images[:, 1:4, 1:3].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(read.images, np.concatenate([centres, centres[:2]]))
    assert read.labels is not None and read.labels.dtype == np.int64
    np.testing.assert_array_equal(read.labels, [n % 10 for n in [*range(COUNT), 0, 1]])
    whole = ImageFormat(shape=(5, 5, 1), binary=False)
    stored = examples.read_first([file], whole, 7, as_bytes=True).images
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, images[:7])


def test_binarised_pixels_are_black_and_white_as_bytes(tmp_path: Path) -> None:
    tiny.write_records(tmp_path / "a.gz", [tiny.serialize(np.eye(3, dtype=np.uint8)[..., None], "a")])
    binary = ImageFormat(shape=(3, 3, 1), binary=True)
    read = examples.read_first([str(tmp_path / "a.gz")], binary, 1, as_bytes=True)
    np.testing.assert_array_equal(read.images[0, ..., 0], 255 * np.eye(3))


def test_chunks_are_of_a_bounded_size(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "_CHUNK_BYTES", 130 * 4 * GREY.dimensions)
    chunks = list(examples.read_chunks([file], GREY))
    assert [len(chunk.images) for chunk in chunks] == [130, 130, 40]
    np.testing.assert_array_equal(
        np.concatenate([chunk.images for chunk in chunks]), examples.read_first([file], GREY, COUNT).images
    )
    assert [len(chunk.images) for chunk in examples.read_chunks([file], GREY, rows=131)] == [130, 1]


def test_labels_are_none_where_an_example_has_none(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(_example(image=_bytes(bytes(6))))
    assert examples.read_first([str(path)], GREY, 5).labels is None


def test_what_cannot_be_read_is_told(file: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"No file of examples matches '.*/x\*'"):
        examples.match_files(f"{tmp_path}/x*")
    assert examples.match_files(file.replace("00000", "*")) == [file]
    tiny.write_records(tmp_path / "none.gz", [])
    with pytest.raises(ValueError, match=r"no examples in .*none\.gz"):
        examples.read_first([str(tmp_path / "none.gz")], GREY, 1)
    with pytest.raises(BadImage, match="it has 25 bytes; expected 12"):
        examples.read_first([file], ImageFormat(shape=(3, 4, 1), binary=False), 1)
