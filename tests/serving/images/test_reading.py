"""Images from every format, with their ids, and files that end too early."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image as Pillow

from serving.beam_options import LOCAL_RUNNER
from serving.images.image_elements import Rejected
from serving.images.image_format import ImageFormat
from serving.images.input_files import PASSED_OVER, find_inputs
from serving.images.reading import REJECTED, ReadImages
from tests import tiny
from tests.serving.batch.conftest import COUNT

FORMAT = ImageFormat(shape=(7, 5, 1), binary=True)


_KEPT: dict[str, list[Any]] = {}
"""What a pipeline has read. A module's variable, for Beam pickles all else that its functions refer to."""


def _keep(element: Any, kind: str) -> None:
    _KEPT[kind].append(element)


def _read(source: Path | str, images: ImageFormat = FORMAT) -> tuple[dict[str, np.ndarray], list[Rejected]]:
    """Images by id, and what was rejected."""
    _KEPT.update(images=[], rejected=[], passed=[])
    with beam.Pipeline(LOCAL_RUNNER) as pipeline:
        read = pipeline | ReadImages(find_inputs([str(source)]), images)
        _ = read["images"] | "KeepImages" >> beam.Map(_keep, "images")
        _ = read[REJECTED] | "KeepRejected" >> beam.Map(_keep, "rejected")
        _ = read[PASSED_OVER] | "KeepPassed" >> beam.Map(_keep, "passed")
    by_id = {image.id.decode(): image.pixels for image in _KEPT["images"]}
    assert len(by_id) == len(_KEPT["images"])
    return by_id, _KEPT["rejected"]


def _check(found: dict[str, np.ndarray], images: np.ndarray, name: str) -> None:
    assert found.keys() == {name.format(index) for index in range(len(images))}
    for index, image in enumerate(images):
        assert found[name.format(index)].dtype == np.float32
        np.testing.assert_array_equal(found[name.format(index)], image.astype(np.float32))


def test_examples_gzipped_and_plain(images: np.ndarray, examples: Path, tmp_path: Path) -> None:
    found, rejected = _read(examples)
    _check(found, images, "example-{}")
    assert not rejected
    records = [tiny.serialize(image, f"example-{index}") for index, image in enumerate(images)]
    with tf.io.TFRecordWriter(str(tmp_path / "plain.tfrecord")) as writer:
        for record in records:
            writer.write(record)
    _check(_read(tmp_path / "plain.tfrecord")[0], images, "example-{}")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays(save, images: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    np.save(tmp_path / "sub" / "a.npy", images[..., 0] * np.uint8(255))
    save(tmp_path / "b.npz", image=images.astype(np.float32), id=np.arange(COUNT) + 1000, label=np.zeros(COUNT))
    found, rejected = _read(tmp_path)
    assert not rejected
    _check({key: value for key, value in found.items() if key.startswith("sub")}, images, "sub/a.npy:{}")
    _check({str(int(key) - 1000): value for key, value in found.items() if key.isdecimal()}, images, "{}")
    np.save(tmp_path / "one.npy", images[3, ..., 0])
    np.testing.assert_array_equal(_read(tmp_path / "one.npy")[0]["one.npy:0"], images[3])


def test_a_large_array_is_read_in_pieces(tmp_path: Path) -> None:
    ink = np.arange(20_000) % 2
    np.save(tmp_path / "large.npy", np.broadcast_to(ink[:, None, None].astype(np.uint8), (20_000, 7, 5)))
    found, _ = _read(tmp_path / "large.npy")
    assert len(found) == 20_000
    assert all(found[f"large.npy:{row}"].max() == ink[row] for row in range(0, 20_000, 997))


def test_pictures(images: np.ndarray, tmp_path: Path) -> None:
    for index, image in enumerate(images):
        (tmp_path / str(index % 3)).mkdir(exist_ok=True)
        Pillow.fromarray(image[..., 0] * np.uint8(255)).save(tmp_path / str(index % 3) / f"{index}.png")
    found, rejected = _read(tmp_path)
    assert not rejected
    _check({key.split("/")[1]: value for key, value in found.items()}, images, "{}.png")
    assert _read(tmp_path / "1" / "*.png")[0].keys() == {f"{index}.png" for index in range(1, COUNT, 3)}


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(image[..., 0] * np.uint8(255)).save(file, format="PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "cell",
    [
        lambda image: image.tobytes(),
        _png,
        lambda image: {"bytes": _png(image), "path": "x.png"},
        lambda image: image.ravel().tolist(),
        lambda image: image[..., 0].astype(float).tolist(),
    ],
    ids=["raw", "png", "struct", "flat_list", "nested_list"],
)
def test_parquet(cell, images: np.ndarray, tmp_path: Path) -> None:
    ids = [f"row {index}" for index in range(COUNT)]
    table = pa.table({"id": ids, "image": [cell(image) for image in images], "label": [1] * COUNT})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=15)
    found, rejected = _read(tmp_path / "t.parquet")
    assert not rejected
    _check(found, images, "row {}")
    pq.write_table(table.drop(["id"]), tmp_path / "t.parquet", row_group_size=15)
    _check(_read(tmp_path / "t.parquet")[0], images, "t.parquet:{}")


def test_of_a_torn_file_the_sound_rows_are_read(images: np.ndarray, tmp_path: Path) -> None:
    (path,) = tiny.write_examples(tmp_path, images, shards=1)
    plain = gzip.decompress(Path(path).read_bytes())
    Path(path).unlink()
    (tmp_path / "torn.tfrecord").write_bytes(plain[: len(plain) // 2 + 20])
    np.save(tmp_path / "torn.npy", images)
    whole = (tmp_path / "torn.npy").read_bytes()
    (tmp_path / "torn.npy").write_bytes(whole[: 128 + 10 * 35 + 3])
    found, rejected = _read(tmp_path)
    sound = {f"example-{index}" for index in range(COUNT // 2)} | {f"torn.npy:{row}" for row in range(10)}
    assert found.keys() == sound
    assert sorted((Path(row.place.path).name, row.place.row, row.rows) for row in rejected) == [
        ("torn.npy", 10, COUNT - 10),
        ("torn.tfrecord", COUNT // 2, None),
    ]
    reasons = {Path(row.place.path).name: row.reason for row in rejected}
    assert reasons["torn.npy"] == f"its header claims {COUNT} rows, and the file ends after 10"
    assert reasons["torn.tfrecord"].startswith("from here on the file cannot be read: the file ends within a record")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.npy", b"no array", "it cannot be read"),
        ("a.parquet", b"no table", "it cannot be read"),
        ("a.png", b"no picture", "it is no picture that can be read; expected PNG, JPEG"),
        ("a.npz", b"no archive", "File is not a zip file"),
        ("a.tfrecord", b"no records at all, but enough bytes for a header", "the file cannot be read"),
    ],
)
def test_a_file_of_something_else_is_told(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    found, (rejected,) = _read(tmp_path)
    assert not found
    assert reason in rejected.reason and rejected.place.path == str(tmp_path / name)


def test_features_and_columns_that_are_missing_are_told(images: np.ndarray, tmp_path: Path) -> None:
    example = tf.train.Example()
    example.features.feature["id"].bytes_list.value.append(b"lost")
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(example.SerializeToString())
        writer.write(b"\xff\xff no example")
        writer.write(tiny.serialize(images[0], "sound"))
    np.savez(tmp_path / "b.npz", p=images, q=images)
    pq.write_table(pa.table({"picture": [b""]}), tmp_path / "c.parquet")
    found, rejected = _read(tmp_path)
    assert found.keys() == {"sound"}
    reasons = sorted(row.reason for row in rejected)
    assert len(reasons) == 4
    assert reasons[0].endswith("it has the columns ['picture']; expected one with the name 'image'")
    assert reasons[1].endswith("it holds the arrays ['p', 'q']; expected one, or one with the name 'image'")
    assert reasons[2] == "the example has no feature 'image'; it has 'id'"
    assert reasons[3] == "the record is no tf.Example"


def test_folders_as_people_have_them(images: np.ndarray, tmp_path: Path) -> None:
    """MNIST's own files and a folder of TensorFlow Datasets, with all that lies beside the images."""
    grey = ImageFormat(shape=(7, 5, 1), binary=False)
    pixels = images[..., 0] * np.uint8(200)
    idx = bytes([0, 0, 8, 3]) + struct.pack(">3I", *pixels.shape) + pixels.tobytes()
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", COUNT) + bytes(COUNT)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    tfds = tmp_path / "mnist" / "3.0.1"
    tfds.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(tfds / "mnist-test.tfrecord-00000-of-00001")) as writer:
        for image in pixels:
            file = io.BytesIO()
            Pillow.fromarray(image).save(file, "PNG")
            example = tf.train.Example()
            example.features.feature["image"].bytes_list.value.append(file.getvalue())
            example.features.feature["label"].int64_list.value.append(3)
            writer.write(example.SerializeToString())
    passed = ["README.txt", "Thumbs.db", ".DS_Store", "notes~", "mnist/3.0.1/dataset_info.json", "LICENSE"]
    for name in passed:
        (tmp_path / name).write_text("no image")
    found, rejected = _read(tmp_path, grey)
    assert not rejected
    expected = pixels[..., None] / np.float32(255)
    for prefix in ("t10k-images-idx3-ubyte.gz", "mnist/3.0.1/mnist-test.tfrecord-00000-of-00001"):
        _check({key: image for key, image in found.items() if key.startswith(prefix)}, expected, prefix + ":{}")
    assert len(found) == 2 * COUNT
    below = len(str(tmp_path)) + 1
    assert sorted(file.path[below:] for over in _KEPT["passed"] for file in over.first) == sorted(
        [*passed, "t10k-labels-idx1-ubyte.gz"]
    )


def test_a_file_that_is_named_is_read_whatever_its_name(images: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "_a.npy", images)
    _check(_read(tmp_path / "_a.npy")[0], images, "_a.npy:{}")
