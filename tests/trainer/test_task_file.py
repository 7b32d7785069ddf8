"""A task file holds the differences from another task; what it cannot hold is told with its line."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from trainer import task_file, task_yaml, tasks
from trainer.task import (
    Attention,
    Binarisation,
    ClassifyingTask,
    DataSource,
    ErrorGate,
    Gate,
    GenerativeTask,
    ImageFiles,
    NoAttention,
    Resize,
    Task,
)

OWN = """\
like: cifar10
data:
  images: photos
image_shape: [32, 32, 3]
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _load(text: str, *settings: str, name: str = "parts.yaml") -> Task:
    Path(name).write_text(text, encoding="utf-8")
    task = task_file.load(name, settings)
    assert Task.from_json(task.to_json()) == task
    return task


def _mistake(text: str, *settings: str, name: str = "parts.yaml") -> str:
    with pytest.raises(ValueError, match=r"\S") as error:
        _load(text, *settings, name=name)
    return str(error.value)


def test_what_is_not_written_is_inherited_with_its_source() -> None:
    task = _load("like: mnist\nglimpses: 32\nrecipe:\n  learning_rate: 5e-4\n")
    assert (task.name, task.title, task.glimpses, task.recipe.learning_rate) == ("parts", "parts", 32, 5e-4)
    assert (
        dataclasses.replace(
            task, **{field: getattr(tasks.MNIST, field) for field in ("name", "title", "glimpses", "recipe", "sources")}
        )
        == tasks.MNIST
    )
    assert task.source("glimpses") == task.source("recipe.learning_rate") == "given in parts.yaml"
    assert task.source("lstm_units") == "like mnist: the paper's Table 3"
    assert task.source("recipe.batch_size") == "like mnist: ours"


def test_a_value_that_is_set_wins_and_says_so() -> None:
    settings = (
        "glimpses=16",
        "recipe.steps=20000",
        "recipe.learning_rate=5e-4",
        "attention.read = 3",
        "title=My: parts",
    )
    task = _load("like: mnist\nglimpses: 32\n", *settings)
    assert (task.glimpses, task.recipe.steps, task.recipe.learning_rate) == (16, 20_000, 5e-4)
    assert task.attention == Attention(read=3, write=5) and task.title == "My: parts"
    for path in ("glimpses", "recipe.steps", "attention.read"):
        assert task.source(path) == "given with --set"
    assert task.source("attention.write") == "like mnist: the paper's Table 3"


def test_a_value_of_a_built_in_task_is_set_too() -> None:
    task = task_file.load("cifar10", ["glimpses=16"])
    expected = dataclasses.replace(
        tasks.CIFAR10, glimpses=16, sources={**tasks.CIFAR10.sources, "glimpses": "given with --set"}
    )
    assert task == expected
    assert task_file.load("cifar10") is tasks.CIFAR10


def test_own_images_are_other_data_and_have_no_threshold() -> None:
    task = _load(OWN)
    assert isinstance(task.data, ImageFiles) and task.data.resize is Resize.FIT
    assert task.data.images == str(Path("photos").absolute()) and not task.data.has_labels
    assert task.gate == Gate(max_nll_bound=None, tolerance=2.0)
    assert "nobody knows" in task.source("gate.max_nll_bound")
    assert _load(OWN + "gate:\n  max_nll_bound: 1800\n").gate.max_nll_bound == 1800
    assert _load(OWN, "gate.max_nll_bound=1800").gate.max_nll_bound == 1800
    assert _load("like: cifar10\n").gate == tasks.CIFAR10.gate
    again = _load("like: parts.yaml\n", name="more.yaml")
    assert again.data == tasks.CIFAR10.data  # parts.yaml is the file above, without images.


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("photos/", "{here}/sub/photos/"),
        ("~/photos/*.png", "{home}/photos/*.png"),
        ("/data/photos", "/data/photos"),
        ("gs://bucket/photos", "gs://bucket/photos"),
        ("tfds:fashion_mnist:3.0.1", "tfds:fashion_mnist:3.0.1"),
    ],
)
def test_a_path_is_relative_to_its_file(address: str, expected: str) -> None:
    Path("sub").mkdir()
    data = _load(OWN.replace("photos", address), name="sub/parts.yaml").data
    assert data.address == expected.format(here=Path.cwd(), home=Path.home())


def test_what_is_set_is_relative_to_the_working_directory() -> None:
    Path("sub").mkdir()
    assert _load(OWN, "data.images=other", name="sub/parts.yaml").data.address == str(Path("other").absolute())


def test_a_classifier_of_own_images_counts_its_classes() -> None:
    text = (
        "like: cluttered_mnist_small\ndata:\n  images: p\n  class_names: [bolt, 'no', nut]\nimage_shape: [40, 30, 1]\n"
    )
    task = _load(text)
    assert isinstance(task, ClassifyingTask) and task.classes == 3 and task.data.has_labels
    assert task.data.class_names == ("bolt", "no", "nut")
    assert task.gate == ErrorGate(max_error=None, tolerance=0.03)
    assert "data.class_names" in task.source("classes")
    assert "parts.yaml, line 6: classes is 4: it must be 3" in _mistake(text + "classes: 4\n")


def test_attention_comes_and_goes() -> None:
    assert _load("like: mnist\nattention: none\n").attention == NoAttention()
    assert _load("like: mnist_no_attention\nattention: {read: 3, write: 4}\n").attention == Attention(read=3, write=4)
    assert _load("like: mnist\n", "attention=none").attention == NoAttention()
    assert _load("like: mnist\nattention: none\n", "attention={read: 3, write: 4}").attention.read == 3
    assert "attention.write is missing" in _mistake("like: mnist_no_attention\nattention: {read: 3}\n")


def test_a_chain_of_files_ends() -> None:
    Path("first.yaml").write_text("like: mnist\nglimpses: 9\n")
    task = _load("like: first.yaml\nlstm_units: 7\n")
    assert (task.glimpses, task.lstm_units) == (9, 7)
    assert task.source("glimpses") == "like first: given in first.yaml"
    assert "is like itself" in _mistake("like: parts.yaml\n")
    Path("first.yaml").write_text("like: mnist\nglimpses: x\n")
    assert "line 1: like is first.yaml: first.yaml, line 2: glimpses is" in _mistake("like: first.yaml\n")


@pytest.mark.parametrize("name", tasks.NAMES)
def test_every_task_goes_through_yaml_and_json(name: str) -> None:
    task = tasks.get(name)
    for text, file in (
        (task_yaml.whole_task(task, like=None).replace(f"name: {name}", "name: own"), "a.yaml"),
        (task_yaml.whole_task(task, like=name).replace(f"like: {name}", f"like: {name}\nname: own"), "b.yaml"),
        (json.dumps({**json.loads(task.to_json()), "name": "own"}, indent="\t"), "c.json"),
    ):
        again = _load(text, name=file)
        assert dataclasses.replace(again, name=name, title=task.title, sources=task.sources) == task
        # The JSON is that of an export, which says where each value came from.
        assert file != "c.json" or again.sources == task.sources


def test_own_images_go_through_yaml() -> None:
    task = _load(
        OWN + "name: '007'\ntitle: 'none'\n", "data.crop=[200,100]", "data.class_names=[yes, '1', a b, 'c, d']"
    )
    again = _load(task_yaml.whole_task(task, like=None), name="again.yaml")
    assert dataclasses.replace(again, sources=task.sources) == task


def test_a_schema_beside_the_file_is_the_tasks() -> None:
    Path("parts.schema.pbtxt").write_text("feature {}\n")
    task = _load(OWN)
    assert (task.schema, task.source("schema")) == ("feature {}\n", "given in parts.schema.pbtxt")


def test_schedules_follow_what_is_given() -> None:
    task = _load("like: digits\n", "recipe.steps=100")
    assert task.recipe.warmup_steps == tasks.DIGITS.with_steps(100).recipe.warmup_steps == 10
    assert task.source("recipe.warmup_steps") == "follows recipe.steps"
    assert _load("like: digits\nrecipe: {steps: 100, warmup_steps: 50}\n").recipe.warmup_steps == 50
    task = _load("like: digits\nrecipe: {learning_rate: 1e-6}\n")
    assert task.recipe.final_learning_rate == 1e-6


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1", 1.0), (".5", 0.5), ("5.", 5.0), ("1_0.0", 10.0), ("+2E1", 20.0)],
)
def test_numbers_are_read_as_people_write_them(text: str, value: float) -> None:
    assert _load(f"like: digits\nrecipe: {{clip_norm: {text}}}\n").recipe.clip_norm == value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("glimpse: 3", "a task has no glimpse: did you mean glimpses?"),
        ("learning_rate: 3", "a task has no learning_rate: did you mean recipe.learning_rate"),
        ("recipe: {step: 3}", "a task has no recipe.step: did you mean recipe.steps"),
        ("wibble: 3", "a task has no wibble: expected one of "),
        ("classes: 3", "classes is for a classifier, which this task is not"),
        ("gate: {max_error: 0.5}", "gate.max_error is for a classifier"),
        ("data: {crop: [3, 3]}", r"data.crop is for one of images of your own \(data.images\)"),
        ("glimpses: many", "glimpses is 'many': expected a whole number."),
        ("recipe: {clip_norm: 1.5.}", "recipe.clip_norm is '1.5.': expected a number."),
        ("recipe: {clip_norm: .}", "recipe.clip_norm is '.': expected a number."),
        ("recipe: {clip_norm: .inf}", "recipe.clip_norm is inf: it must be positive, and at most 3.4e"),
        ("glimpses: 3.5", "glimpses is '3.5': expected a whole number."),
        ("glimpses: 1e999", "glimpses is '1e999': expected a whole number."),
        ("glimpses: '3'", "glimpses is '3': expected a whole number, without quotes."),
        ("glimpses: [3]", "glimpses is a list: expected a whole number."),
        ("glimpses: {a: 3}", "a task has no glimpses.a"),
        ("glimpses:", "glimpses is empty: expected a whole number."),
        ("glimpses: 0", "glimpses is 0: it must be at least 1."),
        ("recipe: 3", "recipe is no value but a group: expected recipe.adam_beta1, "),
        ("recipe: {jit_compile: 1}", "recipe.jit_compile is '1': expected true or false."),
        ("recipe: {clip_norm: .nan}", "recipe.clip_norm is nan: it must be positive"),
        ("recipe: {learning_rate: 0}", "recipe.learning_rate is 0.0: it must be positive"),
        (
            "recipe: {glimpse_schedule: [[0.5]]}",
            r"glimpse_schedule is a list: expected a list of 2 numbers, in brackets",
        ),
        (
            "recipe: {glimpse_schedule: 8}",
            r"expected a list of lists of a number and a whole number, such as \[\[0.25, 8",
        ),
        ("image_shape: [28, 28]", "image_shape is a list: expected a list of 3 whole numbers, in brackets."),
        ("image_shape: 28", "image_shape is '28': expected a list of 3 whole numbers, in brackets."),
        ("image_shape: [28, 28, 2]", r"image_shape is \(28, 28, 2\): it must be"),
        ("image_shape: [28, 28, 3]", "binarisation is stochastic_each_epoch: it must be none, for colour"),
        ("binarisation: grey", "binarisation is 'grey': expected one of none, given, threshold, stochastic"),
        ("attention: some", "attention is 'some': expected none, or the group's values below it."),
        ("attention:", "attention is empty: expected none"),
        ("attention: {read: 1}", "attention.read is 1: Eq. 24"),
        ("gate: {max_nll_bound: low}", "gate.max_nll_bound is 'low': expected a number, or none."),
        ("name: Parts 7", "name is 'Parts 7': expected small letters.*; parts_7 would do"),
        ("name: mnist", "name is mnist, which is a built-in task's"),
        ("like: minst", "There is no task 'minst'. Did you mean mnist"),
        ("like: [digits]", "like is a list: expected the name of one task, or a file."),
        ("like:", "like is empty: expected the name of one task, or a file."),
        ("data: {images: }", "data.images is empty: it must be a folder"),
        ("data: {images: ' '}", "data.images is empty: it must be a folder"),
        ("data: {images: a, builder: b}", "data.images and data.builder are both given"),
        ("sources: {glimpses: me}\nglimpses: x", "glimpses is 'x'"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_is_allowed(line: str, message: str) -> None:
    text = f"# Mine.\n{line}\n" if line.startswith("like") else f"like: digits\n{line}\n"
    shown = _mistake(text)
    assert re.search(message, shown), shown
    assert shown.startswith("parts.yaml"), shown
    if not line.startswith(("image_shape: [28, 28, 3]", "sources")):
        assert shown.startswith("parts.yaml, line 2"), shown


def test_all_mistakes_are_told_at_once() -> None:
    shown = _mistake("like: digits\nglimpse: 3\nrecipe:\n  steps: many\n  seed: x\n").splitlines()
    assert [line.split(":")[0] for line in shown] == [f"parts.yaml, line {n}" for n in (2, 4, 5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "parts.yaml holds no task"),
        ("- like: digits\n", "parts.yaml holds no task"),
        ("like: digits\nrecipe:\n\tsteps: 3\n", "parts.yaml is no YAML: line 3, column 1: .*; indent with spaces"),
        ("like: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("like: digits\nlike: mnist\n", "the key 'like' is there twice"),
        ("glimpses: 3\n", "lstm_units is missing: give it; or inherit the rest, with a line such as `like: digits`"),
        ("{", "parts.yaml is no YAML"),
    ],
)
def test_what_is_no_task_is_told(text: str, message: str) -> None:
    assert re.search(message, _mistake(text))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("glimpses", "--set glimpses: expected PATH=VALUE"),
        ("=3", "--set =3: expected PATH=VALUE"),
        ("glimpses=", "--set glimpses=: glimpses is empty: expected a whole number."),
        ("glimpses=[", r"--set glimpses=\[ is no YAML"),
        ("recipe.step=3", "--set recipe.step=3: a task has no recipe.step: did you mean recipe.steps"),
        ("recipe.steps=-1", "--set recipe.steps=-1: recipe.steps is -1: it must be at least 0."),
        ("like=mnist", "--set like=mnist: a task has no like"),
        ("data.images=", "--set data.images=: data.images is empty"),
    ],
)
def test_what_cannot_be_set_is_told(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        task_file.load("digits", [setting])


def test_a_value_is_set_once() -> None:
    with pytest.raises(ValueError, match="glimpses is set twice"):
        task_file.load("digits", ["glimpses=3", "glimpses=4"])


def test_a_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ValueError, match=r"Cannot read the task's file none\.yaml: No such file"):
        task_file.load("none.yaml")
    Path("parts.yaml").write_text(OWN)
    with pytest.raises(ValueError, match=r"There is no task 'parts'\. Did you mean parts\.yaml\?"):
        task_file.load("parts")


def test_the_message_of_every_constructor_begins_with_a_path() -> None:
    """By it the line is found."""
    data = {"train": "a", "validation": "b", "test": "c", "images": "d"}
    for changes in (
        {"images": ""}, {"crop": (0, 3)}, {"padding": 256}, {"max_bad": float("nan")}, {"train": "b"}, {"train": "x/y"},
        {"crop_margin": (-1, 0)}, {"class_names": ("a", "a")},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"^data\.\w+ is "):
            ImageFiles(**{**data, **changes})
    with pytest.raises(ValueError, match=r"^data\.crop_margin is "):
        DataSource(builder="x", train="a", validation="b", test="c", crop_margin=(1, -1))


def test_a_task_with_binary_pixels_of_its_own() -> None:
    task = _load("like: digits\ndata: {images: a}\nbinarisation: threshold\n")
    assert isinstance(task, GenerativeTask) and task.binarisation is Binarisation.THRESHOLD
