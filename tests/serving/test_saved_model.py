"""A SavedModel on arrays: which version, what it takes, batches, what is checked of an answer, and its task."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving import saved_model
from serving.exported_task import ExportedTask
from serving.images.image_format import ImageFormat
from serving.saved_model import SavedModel
from tests import tiny
from trainer.task import Binarisation, ImageFiles

HEIGHT, WIDTH = 3, 2


class _Adder(tf.Module):
    """`add` gives per image the sum of its pixels and the seed's; `count` has one row whatever it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = tf.Variable(0, dtype=tf.int64)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, HEIGHT, WIDTH, 1], tf.float32, name="image"),
            tf.TensorSpec([None, 2], tf.int64, name="seed"),
        ]
    )
    def add(self, image: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.Assert(tf.reduce_all(image <= 1), ["Every pixel must be at most 1."])
        rows = tf.shape(image, tf.int64)[0]
        self.rows.assign(tf.maximum(self.rows, rows))
        total = tf.reduce_sum(image, axis=[1, 2, 3]) + tf.cast(tf.reduce_sum(seed, axis=1), tf.float32)
        return {"total": total, "halves": tf.stack([total / 2] * 2, axis=1), "root": tf.sqrt(total)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def count(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"bytes": tf.strings.length(examples)[:1]}

    @tf.function(input_signature=[])
    def most_rows(self) -> dict[str, tf.Tensor]:
        return {"rows": self.rows[None]}


def _export(directory: Path) -> Path:
    adder = _Adder()
    signatures = {"add": adder.add, "count": adder.count, "most_rows": adder.most_rows}
    tf.saved_model.save(adder, str(directory), signatures=signatures)
    return directory


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    _export(folder / "10")
    (folder / "9").mkdir()
    (folder / "11-unfinished").mkdir()
    return folder


@pytest.fixture(scope="module")
def model(versions: Path) -> SavedModel:
    return SavedModel(versions)


def _inputs(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "image": rng.integers(0, 256, (rows, HEIGHT, WIDTH, 1)).astype(np.uint8),
        "seed": rng.integers(0, 9, (rows, 2)).astype(np.int32),
    }


def test_the_newest_version_is_taken_as_a_number(versions: Path, model: SavedModel) -> None:
    assert model.directory == str(versions / "10") == saved_model.newest_version(f"{versions}/10/")
    with pytest.raises(saved_model.NotASavedModel, match=f"no model in {versions}/9: expected a SavedModel, or its"):
        SavedModel(versions / "9")


@pytest.mark.parametrize("newest", ["11", "012"])
def test_a_version_that_is_still_being_copied_is_not_taken(versions: Path, newest: str, tmp_path: Path) -> None:
    """Not at any moment of the Pusher's copying: folder, graph, and the variables' index last."""
    shutil.copytree(versions / "10", tmp_path / "10")
    target = tmp_path / newest
    target.mkdir()
    files = sorted(path.relative_to(versions / "10") for path in (versions / "10").rglob("*") if path.is_file())
    assert files[-1] == Path("variables/variables.index")
    for file in files:
        assert saved_model.newest_version(tmp_path) == str(tmp_path / "10")
        (target / file).parent.mkdir(exist_ok=True)
        shutil.copy(versions / "10" / file, target / file)
    assert saved_model.newest_version(tmp_path) == str(target)
    (tmp_path / "only" / "7").mkdir(parents=True)
    with pytest.raises(saved_model.NotASavedModel, match=r"there is only 7, without saved_model\.pb"):
        saved_model.newest_version(tmp_path / "only")


def test_a_signature_says_what_it_takes_and_gives(model: SavedModel) -> None:
    add, count = model.signature("add"), model.signature("count")
    assert add.inputs == {"image": (np.float32, (None, HEIGHT, WIDTH, 1)), "seed": (np.int64, (None, 2))}
    assert add.outputs == {
        name: (np.float32, shape) for name, shape in {"halves": (None, 2), "root": (None,), "total": (None,)}.items()
    }
    assert add.image_shape == (HEIGHT, WIDTH, 1)
    assert count.inputs == {"examples": (np.dtype(object), (None,))} and count.only_input == "examples"
    with pytest.raises(ValueError, match=r"'add' of .* takes \['image', 'seed'\]; expected one input"):
        _ = add.only_input
    with pytest.raises(ValueError, match=r"'count' of .* takes no image"):
        _ = count.image_shape


def test_a_missing_signature_is_named_with_those_that_are_there(model: SavedModel) -> None:
    for name, hint in (
        ("sample", "only a generative model has it"),
        ("classify", "only a classifier has it"),
        ("other", "export the model with"),
    ):
        match = rf"no signature '{name}', only \['add', 'count', 'most_rows'\]: {hint}"
        with pytest.raises(ValueError, match=match):
            model.signature(name)
        with pytest.raises(ValueError, match=match):
            saved_model.require_signature(model.directory, name)


def test_a_call_in_batches_gives_the_rows_of_one_call(versions: Path) -> None:
    model, inputs = SavedModel(versions), _inputs(7)
    found = model.signature("add").call(inputs, batch_rows=3)
    assert model.signature("most_rows").run({})["rows"] == 3
    expected = inputs["image"].sum(axis=(1, 2, 3)) / 255 + inputs["seed"].sum(axis=1)
    np.testing.assert_allclose(found["total"], expected, rtol=1e-5)
    assert found.keys() == {"total", "halves", "root"} and found["halves"].shape == (7, 2)


def test_only_what_is_asked_for_is_returned_and_checked(model: SavedModel) -> None:
    add, inputs = model.signature("add"), _inputs(4)
    assert add.call(inputs, outputs={"total": "[n]"}).keys() == {"total"}
    with pytest.raises(ValueError, match=r"gave halves of shape \(4, 2\) for 4 rows; expected \[n\]"):
        add.call(inputs, outputs={"halves": "[n]"})
    add.require_outputs("total", "halves")
    with pytest.raises(ValueError, match=r"'add' of .* lacks the outputs \['kl'\]; it gives \['halves', 'root', 'tot"):
        add.require_outputs("total", "kl")


def test_outputs_that_nobody_asks_for_take_no_memory(tmp_path: Path) -> None:
    module = tf.Module()
    module.call = tf.function(
        lambda x: {"sum": tf.reduce_sum(x, axis=1), "wide": tf.zeros([tf.shape(x)[0], 1_000_000])},
        input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"call": module.call})
    signature, inputs = SavedModel(tmp_path).signature("call"), {"x": np.ones((8, 2), np.float32)}
    signature.call(inputs, outputs={"sum": "[n]"}, batch_rows=1)
    tracemalloc.start()
    answer = signature.call(inputs, outputs={"sum": "[n]"}, batch_rows=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(answer["sum"], np.full(8, 2.0))
    # One row of the wide output is 4 MB.
    assert answer.keys() == {"sum"} and peak < 1_000_000


def test_an_answer_of_fewer_rows_is_an_error(model: SavedModel) -> None:
    examples = np.array([b"a", b"\xff\x00b"], object)
    count = model.signature("count")
    np.testing.assert_array_equal(count.call({"examples": examples[1:]})["bytes"], [3])
    with pytest.raises(ValueError, match=r"gave bytes of shape \(1,\) for 2 rows; expected \[n, \.\.\.\]"):
        count.call({"examples": examples})


def test_what_is_not_finite_is_an_error_where_it_must_be(model: SavedModel) -> None:
    add, inputs = (
        model.signature("add"),
        {"image": np.zeros((2, HEIGHT, WIDTH, 1)), "seed": np.array([[0, 1], [-1, 0]])},
    )
    assert math.isnan(add.call(inputs)["root"][1])
    with pytest.raises(ValueError, match="gave root that is not finite"):
        add.call(inputs, finite=True)
    add.call(inputs, outputs={"total": "[n]"}, finite=True)


def test_other_inputs_than_the_signature_takes_are_named(model: SavedModel) -> None:
    with pytest.raises(ValueError, match=r"'add' of .* takes \['image', 'seed'\]; got \['image', 'seeds'\]"):
        model.signature("add").run({"image": np.zeros((1, HEIGHT, WIDTH, 1)), "seeds": np.zeros((1, 2))})


def test_a_refusal_is_the_models_own_sentence(model: SavedModel) -> None:
    inputs = {"image": np.full((1, HEIGHT, WIDTH, 1), 1.5), "seed": np.zeros((1, 2))}
    with pytest.raises(tf.errors.InvalidArgumentError) as refused:
        model.signature("add").run(inputs)
    assert saved_model.refusal(refused.value) == "Every pixel must be at most 1."


def test_definitions_are_read_without_loading(versions: Path, tmp_path: Path) -> None:
    definitions = saved_model.signature_definitions(versions / "10")
    assert list(definitions) == ["add", "count", "most_rows"]
    assert list(definitions["count"].inputs) == ["examples"]
    (tmp_path / "saved_model.pb").write_bytes(b"no protobuf")
    with pytest.raises(saved_model.NotASavedModel, match=r"saved_model.pb is no SavedModel"):
        saved_model.signature_definitions(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(saved_model.NoServingGraph, match=r"no graph tagged 'serve', only \[\]"):
        saved_model.signature_definitions(tmp_path)


def test_a_task_is_read_from_beside_the_model(tmp_path: Path) -> None:
    assert saved_model.read_task(tmp_path) is None
    with pytest.raises(FileNotFoundError, match=r"has no assets/task.json"):
        saved_model.require_task(tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "task.json").write_text(tiny.CLASSIFIER.to_json())
    task = saved_model.require_task(tmp_path)
    assert (task.name, task.classes, task.read_filters, task.write_filters, task.binary) == (
        tiny.CLASSIFIER.name,
        tiny.CLASSIFIER.classes,
        tiny.CLASSIFIER.read,
        None,
        tiny.CLASSIFIER.binary,
    )
    assert task.steps == tiny.CLASSIFIER.glimpses


def test_the_facts_of_a_generative_task() -> None:
    data = dataclasses.replace(tiny.MODELS["attention"].data, crop_margin=(4, 2))
    task = dataclasses.replace(tiny.MODELS["attention"], data=data)
    facts = ExportedTask(_json(task))
    assert facts.image_shape == task.image_shape and facts.crop_margin == (4, 2) and facts.classes is None
    assert (facts.read_filters, facts.write_filters) == (task.attention.read, task.attention.write)
    assert facts.test_split == task.data.test
    assert facts.image_format() == ImageFormat(shape=task.image_shape, margin=(4, 2), binary=True)
    assert facts.image_format(task.data.train) == facts.image_format()
    without = ExportedTask(_json(tiny.MODELS["no_attention_colour"]))
    assert (without.read_filters, without.write_filters, without.binary) == (None, None, False)


def test_the_training_splits_keep_intensities_where_they_are_drawn_each_epoch() -> None:
    base = tiny.MODELS["attention"]
    data = dataclasses.replace(base.data, train="train+extra", validation="test", test="test")
    task = dataclasses.replace(base, data=data, binarisation=Binarisation.STOCHASTIC_EACH_EPOCH)
    facts = ExportedTask(_json(task))
    splits = {None: True, "train": False, "extra": False, "test": True}
    assert {split: facts.image_format(split).binary for split in splits} == splits
    folders = dataclasses.replace(task, data=ImageFiles(images="/photos", train="black+white", validation="white"))
    facts = ExportedTask(_json(folders))
    assert [facts.image_format(split).binary for split in ("black+white", "white")] == [False, True]


def _json(task: object) -> dict[str, object]:
    return json.loads(task.to_json())  # type: ignore[attr-defined]
