"""The tasks that come with the project: the paper's values where it has them, and a source for every value."""

import json

import pytest

from trainer import tasks
from trainer.task import TABLE_3, Attention, Binarisation, NoAttention, Task


@pytest.fixture(params=tasks.NAMES)
def task(request):
    return tasks.get(request.param)


def test_a_task_is_found_by_its_name(task):
    assert tasks.get(task.name) is task
    assert task.title and task.title != task.name


def test_an_unknown_task_is_answered_with_those_that_there_are():
    with pytest.raises(ValueError, match="no task 'minst'") as error:
        tasks.get("minst")
    assert all(name in str(error.value) for name in tasks.NAMES)
    assert {"digits", "mnist", "mnist_no_attention"} <= set(tasks.NAMES)


def test_json_brings_the_same_task_back(task):
    assert Task.from_json(task.to_json()) == task


def test_every_value_has_a_source_that_says_something(task):
    sources = json.loads(task.to_json())["sources"]
    assert all(isinstance(source, str) and source.strip() for source in sources.values())
    assert {path.partition(".")[0] for path in sources} >= {"data", "image_shape", "recipe", "gate"}


def test_mnist_has_the_values_of_table_3():
    task = tasks.get("mnist")
    table_3 = {"glimpses", "lstm_units", "latent_size", "attention.read", "attention.write"}
    assert (task.glimpses, task.lstm_units, task.latent_size) == (64, 256, 100)
    assert task.attention == Attention(read=2, write=5)
    assert {name for name, source in task.sources.items() if source == TABLE_3} == table_3
    assert (task.image_shape, task.binarisation) == ((28, 28, 1), Binarisation.GIVEN)


@pytest.mark.parametrize(
    ("name", "sizes", "window", "seen", "stored"),
    [
        ("svhn", (32, 800, 100), 12, (54, 54, 3), (64, 64, 3)),
        ("cifar10", (64, 400, 200), 5, (32, 32, 3), (32, 32, 3)),
    ],
)
def test_colour_tasks_have_the_values_of_table_3(name, sizes, window, seen, stored):
    task = tasks.get(name)
    assert (task.glimpses, task.lstm_units, task.latent_size) == sizes
    assert task.attention == Attention(read=window, write=window)
    assert {name for name, source in task.sources.items() if source == TABLE_3} == {
        "glimpses", "lstm_units", "latent_size", "attention.read", "attention.write",
    }  # fmt: skip
    assert (task.image_shape, task.stored_shape, task.binarisation) == (seen, stored, Binarisation.NONE)


def test_two_digits_are_of_our_own_size_and_the_small_ones_need_no_download():
    task, small = tasks.get("two_digit_mnist"), tasks.get("two_digit_mnist_small")
    assert TABLE_3 not in task.sources.values() and task.source("glimpses").startswith("ours")
    assert task.data.builder.startswith("two_digit_mnist/mnist-")
    assert small.data.builder.startswith("two_digit_mnist/digits-")
    assert small.image_shape == task.image_shape == (60, 60, 1)
    assert small.recipe.steps < 5_000 < task.recipe.steps


def test_svhn_is_judged_on_the_split_that_the_paper_reports():
    data = tasks.get("svhn").data
    assert (data.splits, data.crop_margin) == (("train", "validation"), (10, 10))


def test_mnist_without_attention_differs_in_the_attention_and_claims_nothing_from_table_3():
    task, attentive = tasks.get("mnist_no_attention"), tasks.get("mnist")
    assert task.attention == NoAttention()
    for field in ("glimpses", "lstm_units", "latent_size", "image_shape", "binarisation", "data"):
        assert getattr(task, field) == getattr(attentive, field)
    assert TABLE_3 not in task.sources.values()


def test_the_paper_gives_no_recipe_and_no_gate(task):
    for name, source in json.loads(task.to_json())["sources"].items():
        if name.startswith(("recipe.", "gate.")):
            assert source.startswith("ours"), name


def test_digits_need_no_download_and_are_gated_below_112_nats():
    task = tasks.get("digits")
    assert task.data.module == "components.datasets.digits.digits_dataset_builder"
    assert (task.image_shape, task.binarisation) == ((28, 28, 1), Binarisation.STOCHASTIC_EACH_EPOCH)
    assert task.gate.max_nll_bound <= 112
    assert "paper" not in " ".join(task.sources.values()).lower()


def test_training_ends_with_a_validation(task):
    """So that the last line that a person sees is the bound of the weights that are exported."""
    assert task.recipe.steps % task.recipe.validation_interval == 0
