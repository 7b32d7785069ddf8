"""The data set `svhn`, from archives in the original format: what is cut out, which split gets it, what is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from components.datasets.svhn import house_number, svhn_dataset_builder
from components.datasets.svhn.digit_struct import Digit, DigitStruct
from components.image_example_gen.prepared_dataset import open_dataset
from tests.components.ingestion import by_id, ingest, records, validate
from tests.components.svhn_archive import Photo, png, write_archive, write_folder
from trainer.tasks import SVHN

VALIDATION = 3
PARTS = ("train", "extra", "test")


def _photo(name: str, seed: int, *labels: int) -> Photo:
    """Noise of 90 x 120 pixels with digits side by side from column 21 and row 11 on, each 15 wide and 40 high."""
    pixels = np.random.RandomState(seed).randint(0, 256, (90, 120, 3)).astype(np.uint8)
    return Photo(name, png(pixels), [(label, 21 + 15 * i, 11, 15, 40) for i, label in enumerate(labels)])


def _photos(part: str) -> list[Photo]:
    """Six images whose rows in the .mat follow another order than their numbers, as a sorted listing has none."""
    return [_photo(f"{n}.png", 10 * len(part) + n, *labels) for n, labels in (
        (10, (1, 10)), (2, (7,)), (1, (2, 3, 5)), (11, (4, 4)), (3, (10,)), (20, (9, 8, 7, 6)))]  # fmt: skip


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svhn_dataset_builder.Builder, "VALIDATION_EXAMPLES", VALIDATION)


@pytest.fixture
def data_dir(tmp_path: pathlib.Path, small: None) -> pathlib.Path:
    """TFDS's directory with the three archives."""
    for part in PARTS:
        write_archive(_manual(tmp_path), tmp_path / "scratch", part, _photos(part))
    return tmp_path / "tfds"


def _manual(root: pathlib.Path) -> pathlib.Path:
    return root / "tfds" / "downloads" / "manual"


def _prepare(data_dir: pathlib.Path, runner: str | None = None) -> tfds.core.DatasetBuilder:
    builder = svhn_dataset_builder.Builder(data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(beam_runner=runner))
    return builder


def _examples(builder: tfds.core.DatasetBuilder, split: str) -> dict[str, dict[str, np.ndarray]]:
    return {example["id"].decode(): example for example in tfds.as_numpy(builder.as_dataset(split=split))}


def _digit(label: int, left: float, top: float, width: float, height: float) -> Digit:
    return Digit(label=label, left=left, top=top, width=width, height=height)


NOISE = np.random.RandomState(1).randint(0, 256, (150, 200, 3)).astype(np.uint8)


def test_what_is_cut_out_is_the_box_around_all_digits_grown_by_30_percent() -> None:
    # Boxes that make 64 x 64 when they are grown, so that nothing is resized.
    side = 64 / 1.3
    left, top = 40 + 0.15 * side, 25 + 0.15 * side
    digits = [
        _digit(3, left + side - 9, top + 5, 9, side - 5),
        _digit(10, left, top, 12, 11),
        _digit(1, left + 20, top + 8, 5, 6),
    ]
    found = house_number.features(png(NOISE), digits)
    np.testing.assert_array_equal(found["image"], NOISE[25:89, 40:104])
    assert found["labels"] == [3, 0, 1]
    assert found["boxes"].dtype == np.float32
    np.testing.assert_allclose(found["boxes"][1], [left, top, 12, 11])


def test_what_lies_outside_the_image_is_left_out() -> None:
    found = house_number.features(png(NOISE[:64, :64]), [_digit(1, -7, 3, 50, 80), _digit(2, 40, -5, 30, 20)])
    np.testing.assert_array_equal(found["image"], NOISE[:64, :64])


def test_width_and_height_are_scaled_each_by_itself() -> None:
    pixels = np.zeros((130, 400, 3), np.uint8)
    pixels[:, 200:] = (200, 100, 50)
    # 260 x 65 when it is grown: columns 70 to 330, and the edge in their middle.
    found = house_number.features(png(pixels), [_digit(1, 100, 20, 200, 50)])["image"]
    assert not found[:, :31].any()
    assert (found[:, 33:] == (200, 100, 50)).all()


def test_grey_images_and_palettes_become_colour() -> None:
    for mode in ("L", "P", "RGBA"):
        found = house_number.features(png(NOISE, mode), [_digit(1, 20, 20, 40, 40)])
        assert found["image"].shape == (64, 64, 3) and found["image"].dtype == np.uint8


BROKEN = png(NOISE)


@pytest.mark.parametrize(
    ("image", "digits", "reason"),
    [
        (BROKEN, [], "no boxes"),
        (BROKEN, [_digit(1, 5, 5, 9, 9), _digit(2, 9, 9, 0, 5)], "a box without size"),
        (BROKEN, [_digit(1, 5, 5, 9, -1)], "a box without size"),
        (BROKEN, [_digit(1, 5, 5, 9, float("nan"))], "a box without size"),
        (BROKEN, [_digit(1, float("nan"), 5, 9, 9)], "a box without size"),
        (BROKEN, [_digit(0, 5, 5, 9, 9)], "a label that is no digit"),
        (BROKEN, [_digit(11, 5, 5, 9, 9)], "a label that is no digit"),
        (BROKEN, [_digit(1, 300, 5, 9, 9)], "boxes outside the image"),
        (BROKEN, [_digit(1, 5, -40, 9, 9)], "boxes outside the image"),
        (b"", [_digit(1, 5, 5, 9, 9)], "an unreadable image"),
        (b"no image at all", [_digit(1, 5, 5, 9, 9)], "an unreadable image"),
        (BROKEN[:20], [_digit(1, 5, 5, 9, 9)], "an unreadable image"),
        (BROKEN[: len(BROKEN) // 2], [_digit(1, 5, 5, 9, 9)], "an unreadable image"),
        (BROKEN[:3000] + bytes(50) + BROKEN[3050:], [_digit(1, 5, 5, 9, 9)], "an unreadable image"),
    ],
)
def test_what_cannot_become_an_example_says_why(image: bytes, digits: list[Digit], reason: str) -> None:
    with pytest.raises(house_number.Unusable) as raised:
        house_number.features(image, digits)
    assert str(raised.value) == reason


def test_boxes_are_found_by_the_name_whatever_the_order(tmp_path: pathlib.Path) -> None:
    photos = [*_photos("train"), Photo("5.png", b"", [])]
    struct = DigitStruct(write_folder(tmp_path, "train", photos) / "digitStruct.mat")
    rows = struct.rows()
    assert set(rows) == {"10.png", "2.png", "1.png", "11.png", "3.png", "20.png", "5.png"}
    assert [digit.label for digit in struct.digits(rows["20.png"])] == [9, 8, 7, 6]
    # One digit stands inline in the file. MATLAB counts pixels from 1.
    assert struct.digits(rows["3.png"]) == [_digit(10, 20, 10, 15, 40)]
    assert [digit.left for digit in struct.digits(rows["1.png"])] == [20, 35, 50]
    assert struct.digits(rows["5.png"]) == []


def test_more_names_than_are_read_at_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.datasets.svhn.digit_struct.NAMES_AT_ONCE", 4)
    struct = DigitStruct(write_folder(tmp_path, "train", _photos("train")) / "digitStruct.mat")
    assert list(struct.rows().values()) == list(range(6))


@pytest.mark.parametrize("runner", [None, "DirectRunner"])
def test_splits_are_made_of_the_parts_by_a_hash_of_the_names(data_dir: pathlib.Path, runner: str | None) -> None:
    builder = _prepare(data_dir, runner)
    digest = lambda name: hashlib.sha256(name.encode()).hexdigest()  # noqa: E731
    names = sorted((f"{part}/{photo.name}" for part in ("train", "extra") for photo in _photos(part)), key=digest)
    expected = {"validation": names[:VALIDATION], "train": names[VALIDATION:], "test": [
        f"test/{photo.name}" for photo in _photos("test")]}  # fmt: skip
    for split, ids in expected.items():
        examples = _examples(builder, split)
        assert set(examples) == set(ids)
        assert builder.info.splits[split].num_examples == len(ids)
        for example_id, example in examples.items():
            part, name = example_id.split("/")
            (photo,) = (photo for photo in _photos(part) if photo.name == name)
            boxes = [_digit(int(box[0]), box[1] - 1, box[2] - 1, *box[3:]) for box in photo.boxes or ()]
            assert photo.png is not None
            np.testing.assert_array_equal(example["image"], house_number.features(photo.png, boxes)["image"])
            assert example["labels"].tolist() == [digit.label % 10 for digit in boxes]
            np.testing.assert_array_equal(example["boxes"][:, 0], [digit.left for digit in boxes])
    assert builder.info.metadata["skipped"] == {"train": {}, "validation": {}, "test": {}}
    assert not list(builder.data_path.glob("scratch*"))
    # Prepared, it is read without the builder's code, and without the archives.
    again = tfds.builder("svhn:1.0.0", data_dir=data_dir)
    assert _examples(again, "test").keys() == _examples(builder, "test").keys()


def test_whole_images_reach_the_trainer_and_fit_the_curated_schema(
    data_dir: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    task = dataclasses.replace(SVHN, data=dataclasses.replace(SVHN.data, test="test"))
    examples = ingest(task, data_dir, tmp_path / "examples")
    builder = tfds.builder("svhn:1.0.0", data_dir=data_dir)
    for split in ("train", "validation", "test"):
        found = by_id(records(examples, split))
        expected = _examples(builder, split)
        assert {example_id: features["image"] for example_id, features in found.items()} == {
            example_id: example["image"].tobytes() for example_id, example in expected.items()
        }
    validate(task, examples, tmp_path)


def test_unpacked_folders_give_the_same_as_archives(data_dir: pathlib.Path, tmp_path: pathlib.Path) -> None:
    builder = _prepare(data_dir)
    for part in PARTS:
        write_folder(_manual(tmp_path / "folders"), part, _photos(part))
    other = _prepare(tmp_path / "folders" / "tfds")
    for split in builder.info.splits:
        examples, others = _examples(builder, split), _examples(other, split)
        # In the same order.
        assert list(examples) == list(others)
        for example_id, example in examples.items():
            for name, values in example.items():
                np.testing.assert_array_equal(values, others[example_id][name])


def test_what_is_skipped_is_counted_by_split_and_reason(
    tmp_path: pathlib.Path, small: None, caplog: pytest.LogCaptureFixture
) -> None:
    good = _photos("test")
    bad = [
        Photo("100.png", good[0].png, []),
        Photo("101.png", good[0].png, None),
        Photo("102.png", good[0].png, [(1, 21, 11, 15, 0)]),
        Photo("103.png", (good[0].png or b"")[:500], [(1, 21, 11, 15, 40)]),
        Photo("104.png", None, [(1, 21, 11, 15, 40)]),
    ]
    manual = _manual(tmp_path)
    for part in ("train", "extra"):
        write_archive(manual, tmp_path / "scratch", part, [*_photos(part), *bad])
    write_archive(manual, tmp_path / "scratch", "test", [*good, *bad])
    with caplog.at_level(logging.WARNING):
        builder = _prepare(tmp_path / "tfds")
    skipped = builder.info.metadata["skipped"]
    each = {"no boxes": 2, "a box without size": 1, "an unreadable image": 1, "boxes without an image": 1}
    assert skipped["test"] == each
    together = {reason: skipped["train"].get(reason, 0) + skipped["validation"].get(reason, 0) for reason in each}
    assert together == {reason: 2 * count for reason, count in each.items()}
    assert {name: info.num_examples for name, info in builder.info.splits.items()} == {
        "train": 9, "validation": VALIDATION, "test": 6,
    }  # fmt: skip
    assert (
        "svhn, split test: images were skipped: 1 for a box without size, 1 for an unreadable image, "
        "1 for boxes without an image, 2 for no boxes."
    ) in caplog.text
    # It is also there for whoever opens the data set later.
    assert tfds.builder("svhn:1.0.0", data_dir=tmp_path / "tfds").info.metadata["skipped"] == skipped


def _open(data_dir: pathlib.Path) -> tfds.core.DatasetBuilder:
    """As the pipeline does."""
    return open_dataset(SVHN.data.builder, SVHN.data.splits, str(data_dir), module=SVHN.data.module)


def _left(folder: pathlib.Path) -> list[pathlib.Path]:
    """What lies in a data set's folder, but the file by which its preparation is locked."""
    return [path for path in folder.iterdir() if path.suffix != ".lock"]


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_archive_is_told_with_file_place_and_command(data_dir: pathlib.Path, part: str) -> None:
    manual = data_dir / "downloads" / "manual"
    (manual / f"{part}.tar.gz").unlink()
    command = rf"curl .* {manual}/{part}\.tar\.gz http://ufldl\.stanford\.edu/housenumbers/{part}\.tar\.gz"
    with pytest.raises(RuntimeError, match=rf"{part}\.tar\.gz is not in {manual}, .* with: {command}"):
        _open(data_dir)
    assert not _left(data_dir / "svhn")


def test_an_empty_manual_directory_is_told_with_all_three_commands(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        RuntimeError, match=r"(?s)downloads/manual does not exist or is empty.*train.tar.gz.*test.tar.gz"
    ):
        _open(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:5],
        lambda content: b"",
        lambda content: content[:-8] + b"\x00" * 8,
        lambda content: content[: len(content) // 2] + b"\x55" * 99 + content[len(content) // 2 + 99 :],
        lambda content: b"<html>404 Not Found</html>",
    ],
    ids=["last byte", "half", "head", "empty", "checksum", "overwritten", "another file"],
)
def test_a_damaged_archive_is_refused_before_an_example_is_written(
    data_dir: pathlib.Path, damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = data_dir / "downloads" / "manual" / "test.tar.gz"
    archive.write_bytes(damage(archive.read_bytes()))
    monkeypatch.setattr(house_number, "features", lambda *_: pytest.fail("an example was made"))
    with pytest.raises(RuntimeError, match=rf"{archive} is truncated or damaged .*Get it again with: curl"):
        _open(data_dir)
    assert not _left(data_dir / "svhn")


def test_an_archive_cut_between_two_files_is_refused(data_dir: pathlib.Path, tmp_path: pathlib.Path) -> None:
    photos = _photos("extra")[:2]
    folder = write_folder(tmp_path / "no_struct", "extra", photos)
    (folder / "digitStruct.mat").unlink()
    archive = data_dir / "downloads" / "manual" / "extra.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", folder.parent, "extra"], check=True)
    with pytest.raises(RuntimeError, match=r"extra\.tar\.gz is truncated or damaged .*it holds no digitStruct\.mat"):
        _open(data_dir)


def test_a_struct_that_is_no_matlab_file_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "digitStruct.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(600))
    with pytest.raises(ValueError, match=rf"{path} cannot be read as SVHN's digitStruct.mat.*Fetch"):
        DigitStruct(path)


def test_folders_that_are_not_whole_are_refused(tmp_path: pathlib.Path) -> None:
    for part in PARTS:
        write_folder(_manual(tmp_path), part, _photos(part))
    message = r"train and extra have 12 images that can be used; more than the 4,701 of the validation split are needed"
    with pytest.raises(RuntimeError, match=message):
        _open(tmp_path / "tfds")


def test_until_it_is_complete_all_that_is_written_lies_where_the_next_preparation_ignores_it(
    data_dir: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may be killed at any time, so the state at each example is one that a killed run leaves."""
    left, features = tmp_path / "left" / "svhn", house_number.features

    def snapshot(*arguments: Any) -> dict[str, Any]:
        assert [path.name.split(".")[0] for path in _left(data_dir / "svhn")] == ["incomplete"]
        # Without the lock, which would be this living process's; a killed one's is taken over.
        shutil.copytree(data_dir / "svhn", left, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.lock"))
        return features(*arguments)

    monkeypatch.setattr(house_number, "features", snapshot)
    before = {path.name for path in tmp_path.iterdir()}
    assert _open(data_dir).info.splits["train"].num_examples == 9
    assert {path.name for path in tmp_path.iterdir()} == before | {"left"}
    assert list(left.rglob("*.records"))
    monkeypatch.setattr(house_number, "features", features)
    shutil.copytree(data_dir / "downloads", left.parent / "downloads")
    assert _open(left.parent).info.splits["train"].num_examples == 9


@pytest.mark.slow
def test_a_preparation_that_was_killed_is_not_taken_for_a_data_set(data_dir: pathlib.Path) -> None:
    program = (
        "import sys, time\n"
        "from components.datasets.svhn import house_number, svhn_dataset_builder as svhn\n"
        "features = house_number.features\n"
        "def slow(*arguments):\n"
        "    time.sleep(0.3)\n"
        "    return features(*arguments)\n"
        "house_number.features = slow\n"
        f"svhn.Builder.VALIDATION_EXAMPLES = {VALIDATION}\n"
        "svhn.Builder(data_dir=sys.argv[1]).download_and_prepare()"
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(data_dir)], cwd=root, stderr=subprocess.DEVNULL
    ) as running:
        limit = time.monotonic() + 300
        while not list(data_dir.glob("svhn/incomplete*/*.tfrecord*")) and time.monotonic() < limit:
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
    assert [path.name.split(".")[0] for path in _left(data_dir / "svhn")] == ["incomplete"]
    assert _open(data_dir).info.splits["train"].num_examples == 9


def test_the_folder_documents_the_data_set(tmp_path: pathlib.Path) -> None:
    info = svhn_dataset_builder.Builder(data_dir=tmp_path).info
    assert "Street View House Numbers" in info.description
    assert "Reading Digits in Natural Images" in info.citation


@pytest.mark.skipif(
    not (pathlib.Path(os.environ.get("DRAW_TEST_DATA_DIR", "")) / "svhn_sample").is_dir(),
    reason="DRAW_TEST_DATA_DIR/svhn_sample is not there: folders train, extra and test with a few real images of SVHN",
)
def test_real_images_and_boxes(tmp_path: pathlib.Path, small: None) -> None:
    manual = _manual(tmp_path)
    manual.parent.mkdir(parents=True)
    manual.symlink_to(pathlib.Path(os.environ["DRAW_TEST_DATA_DIR"]) / "svhn_sample")
    builder = _prepare(tmp_path / "tfds")
    examples = {name: example for split in builder.info.splits for name, example in _examples(builder, split).items()}
    assert examples["test/2.png"]["labels"].tolist() == [2, 1, 0]
    assert examples["train/1.png"]["labels"].tolist() == [1, 9]
    np.testing.assert_array_equal(examples["train/1.png"]["boxes"], [[245, 76, 81, 219], [322, 80, 96, 219]])
    for example in examples.values():
        assert example["image"].std() > 2
    assert dataclasses.asdict(SVHN.data)["builder"] == f"svhn:{builder.version}"
