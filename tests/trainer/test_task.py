"""A task says where every value comes from, refuses combinations that make no sense, and survives JSON unchanged."""

import dataclasses
import json
import re

import pytest

from tests import tiny
from trainer.task import (
    OURS,
    Attention,
    Binarisation,
    ClassifyingTask,
    DataSource,
    ErrorGate,
    Gate,
    GenerativeTask,
    ImageFiles,
    NoAttention,
    Recipe,
    Task,
)


@pytest.mark.parametrize("task", tiny.MODELS.values(), ids=tiny.MODELS)
def test_json_brings_the_same_task_back(task):
    text = task.to_json()
    again = Task.from_json(text)
    assert again == task
    assert again.to_json() == text and text.endswith("}\n")
    assert isinstance(again.image_shape, tuple) and isinstance(again.binarisation, Binarisation)
    assert type(again.attention) is type(task.attention)


def test_json_brings_a_classifier_back_as_one():
    text = tiny.CLASSIFIER.to_json()
    again = Task.from_json(text)
    assert again == tiny.CLASSIFIER and isinstance(again, ClassifyingTask) and again.to_json() == text
    assert isinstance(Task.from_json(tiny.tiny_task().to_json()), GenerativeTask)
    assert isinstance(again.with_steps(400), ClassifyingTask) and again.with_steps(400).recipe.steps == 400


@pytest.mark.parametrize(
    "task", [tiny.tiny_task({"matmul_dtype": "bfloat16"}), tiny.CLASSIFIER], ids=lambda task: task.name
)
def test_the_json_of_an_older_export_still_loads(task):
    values = json.loads(task.to_json())
    for former, name in (("products", "matmul_dtype"), ("average_decay", "ema_decay")):
        values["recipe"][former] = values["recipe"].pop(name)
        values["sources"][f"recipe.{former}"] = values["sources"].pop(f"recipe.{name}")
    assert Task.from_json(json.dumps(values)) == task


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 1}, "tiny_classifier: classes is 1: it must be at least 2"),
        ({"read": 1}, r"read is 1: Eq\. 24"),
        ({"glimpses": 0}, "glimpses is 0"),
        (
            {"data": DataSource(builder="b", train="t", validation="v", test="s", has_labels=False)},
            "data.has_labels is False: it must be true",
        ),
    ],
)
def test_an_illegal_classifier_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny.tiny_classifier(**changes)


@pytest.mark.parametrize("values", [(-0.1, 0.0), (1.1, 0.0), (float("nan"), 0.0), (0.1, -0.1), (0.1, float("nan"))])
def test_an_error_gate_holds_fractions(values):
    with pytest.raises(ValueError, match="a fraction, between 0 and 1"):
        ErrorGate(max_error=values[0], tolerance=values[1])


def test_json_holds_every_value_and_its_source():
    task = tiny.tiny_task(latent_size=23)
    values = json.loads(task.to_json())
    assert values["latent_size"] == 23 and values["recipe"]["adam_beta1"] == 0.8
    assert values["attention"] == {"read": tiny.SMALL_N, "write": tiny.LARGE_N}
    assert json.loads(tiny.MODELS["no_attention"].to_json())["attention"] == "none"


def test_json_tells_two_tasks_apart_by_any_value():
    texts = {
        tiny.tiny_task().to_json(),
        tiny.tiny_task({"adam_beta2": 0.98}).to_json(),
        tiny.tiny_task(attention=Attention(read=tiny.LARGE_N, write=tiny.SMALL_N)).to_json(),
        tiny.tiny_task(gate=Gate(max_nll_bound=50.0, tolerance=0.26)).to_json(),
    }
    assert len(texts) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"glimpses": 0}, "tiny: glimpses is 0: it must be at least 1"),
        ({"lstm_units": 0}, "tiny: lstm_units is 0"),
        ({"latent_size": -2}, "tiny: latent_size is -2"),
        ({"image_shape": (1, 5, 1)}, r"image_shape is \(1, 5, 1\).*at least 2 x 2"),
        ({"image_shape": (7, 1, 1)}, r"image_shape is \(7, 1, 1\)"),
        ({"image_shape": (7, 5)}, r"image_shape is \(7, 5\): it must be \(rows, columns, channels\)"),
        ({"image_shape": (7, 5, 2)}, r"image_shape is \(7, 5, 2\).*1 or 3 channels"),
        ({"image_shape": (7, 5, 3), "binarisation": Binarisation.GIVEN}, "colour images are not binarised"),
        (
            {"image_shape": (7, 5, 3), "binarisation": Binarisation.STOCHASTIC_EACH_EPOCH},
            "binarisation is stochastic_each_epoch: it must be none",
        ),
    ],
)
def test_an_illegal_task_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny.tiny_task(**changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            (field, value)
            for field in (
                "batch_size",
                "learning_rate",
                "clip_norm",
                "validation_examples",
                "validation_interval",
            )
            for value in (0, -1)
        ),
        ("steps", -1),
        ("final_learning_rate", -1e-9),
        ("final_learning_rate", 0.011),
        ("warmup_steps", -1),
        ("warmup_steps", 40),
        ("adam_beta1", 1.0),
        ("adam_beta1", -0.1),
        ("adam_beta2", 1.0),
        ("adam_beta2", -0.1),
        ("ema_decay", 1.0),
        ("ema_decay", -0.1),
        ("checkpoint_seconds", -1.0),
        ("checkpoint_seconds", float("inf")),  # JSON has no such number
        ("learning_rate", float("nan")),
        ("clip_norm", float("nan")),
        ("learning_rate", float("inf")),
        ("clip_norm", float("inf")),
        ("clip_norm", 1e39),
        ("seed", -1),
        ("seed", 2**59),
        ("weight_decay", -0.1),
        ("weight_decay", 100.0),  # 1 / learning_rate
        ("weight_decay", float("nan")),
    ],
)
def test_an_illegal_recipe_is_refused_by_the_name_of_its_value(field, value):
    shown = re.escape(str(value))
    with pytest.raises(ValueError, match=rf"recipe\.{field} is {shown}: it must|learning_rate \({shown}\)"):
        tiny.tiny_task({field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("final_learning_rate", 0.0), ("final_learning_rate", 1e-2), ("warmup_steps", 0), ("ema_decay", 0.0)],
)
def test_the_limits_of_a_recipe_are_legal(field, value):
    assert getattr(tiny.tiny_task({field: value}).recipe, field) == value


@pytest.mark.parametrize(("sizes", "message"), [
    ({"read": 1, "write": 5}, r"attention\.read is 1"), ({"read": 5, "write": 1}, r"attention\.write is 1"),
])  # fmt: skip
def test_one_filter_is_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        Attention(**sizes)


@pytest.mark.parametrize("margin", [(-1, 0), (0, -2), (3,), (1, 2, 3)])
def test_an_illegal_crop_is_refused(margin):
    with pytest.raises(ValueError, match=r"data\.crop_margin is \(.*it must be \(rows, columns\)"):
        DataSource(builder="tiny:1.0.0", train="a", validation="b", test="c", crop_margin=margin)


def test_stored_images_are_larger_by_the_margin():
    assert tiny.tiny_task().stored_shape == tiny.tiny_task().image_shape == (7, 5, 1)
    task = tiny.tiny_task(data=dataclasses.replace(tiny.tiny_task().data, crop_margin=(1, 3)))
    assert (task.image_shape, task.stored_shape) == ((7, 5, 1), (8, 8, 1))
    again = Task.from_json(task.to_json())
    assert again == task and isinstance(again.data.crop_margin, tuple)


@pytest.mark.parametrize("tolerance", [-0.1, float("nan")])
def test_an_illegal_gate_is_refused(tolerance):
    with pytest.raises(ValueError, match=rf"gate\.tolerance is {tolerance}"):
        Gate(max_nll_bound=50.0, tolerance=tolerance)


@pytest.mark.parametrize("train", ["fit", "fit+more", "more+fit"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_no_split_both_trains_and_judges(train, split):
    splits = {"train": train, "validation": "watch", "test": "judge", split: "fit"}
    with pytest.raises(ValueError, match=rf"data\.{split} is 'fit', and data\.train is '{re.escape(train)}'"):
        DataSource(builder="tiny:1.0.0", **splits)


def test_training_may_take_several_splits():
    data = DataSource(builder="tiny:1.0.0", train="fit+more", validation="judge", test="judge")
    assert (data.training_splits, data.splits) == (("fit", "more"), ("fit", "more", "judge"))
    task = tiny.tiny_task(data=data, binarisation=Binarisation.STOCHASTIC_EACH_EPOCH)
    stored = [task.split_binarisation(split) for split in data.splits]
    assert stored == [Binarisation.NONE, Binarisation.NONE, Binarisation.STOCHASTIC]
    assert task.training_binarisation is Binarisation.NONE
    # A folder may be called so.
    assert ImageFiles(images="/photos", train="black+white").training_splits == ("black+white",)


def test_what_sources_do_not_name_is_ours():
    task = tiny.tiny_task(sources={"glimpses": "a paper", "gate.tolerance": OURS})
    assert dict(task.sources) == {"glimpses": "a paper"} and task == tiny.tiny_task(sources={"glimpses": "a paper"})
    assert (task.source("glimpses"), task.source("recipe.steps")) == ("a paper", OURS)
    stated = json.loads(task.to_json())["sources"]
    assert stated.pop("glimpses") == "a paper" and set(stated.values()) == {OURS}


def test_json_states_the_source_of_every_field_there_is():
    for task, kinds in (
        (tiny.tiny_task(), (GenerativeTask, Gate, Attention)),
        (tiny.CLASSIFIER, (ClassifyingTask, ErrorGate)),
    ):
        named = {name.rsplit(".", 1)[-1] for name in json.loads(task.to_json())["sources"]}
        fields = {field.name for kind in (*kinds, DataSource, Recipe) for field in dataclasses.fields(kind)}
        assert fields - named - {"attention"} == {"name", "title", "data", "recipe", "gate", "sources"}


@pytest.mark.parametrize(
    ("attention", "path"),
    [
        (Attention(read=2, write=3), "recipe.momentum"),
        (Attention(read=2, write=3), "attention"),
        (NoAttention(), "attention.read"),
        (NoAttention(), "name"),
    ],
)
def test_no_source_stands_alone(attention, path):
    with pytest.raises(ValueError, match=rf"tiny: sources name values that there are not: \['{path}'\]"):
        tiny.tiny_task(attention=attention, sources={path: "a paper"})


# The kind of a task


def test_a_kind_agrees_with_the_gate_and_the_windows_of_its_tasks():
    for task in (*tiny.MODELS.values(), tiny.CLASSIFIER):
        assert {field.name for field in dataclasses.fields(task.gate)} == {task.kind.limit, "tolerance"}
        assert task.kind.reads_labels is isinstance(task, ClassifyingTask)
    assert tiny.MODELS["attention_colour"].window_sizes == {"read": tiny.LARGE_N, "write": tiny.SMALL_N}
    assert tiny.MODELS["no_attention"].window_sizes == {}
    assert tiny.CLASSIFIER.window_sizes == {"glimpse": tiny.SMALL_N}


def test_a_kind_formats_its_metric_and_its_limit():
    generative, classifier = tiny.tiny_task().kind, tiny.CLASSIFIER.kind
    assert (generative.metric_text(98.526), generative.limit_text(112.0)) == ("98.5260 nats", "112 nats")
    assert (classifier.metric_text(0.06204), classifier.limit_text(0.065)) == ("6.20%", "6.5%")


def test_a_task_cannot_be_changed():
    task = tiny.tiny_task()
    for owner, field in (
        (task, "glimpses"),
        (task.recipe, "steps"),
        (task.attention, "read"),
        (task.gate, "tolerance"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(owner, field, 99)


def test_with_steps_changes_the_schedule_alone_and_says_who_asked():
    task = tiny.tiny_task({"steps": 1_000, "warmup_steps": 300})
    shorter = task.with_steps(200)
    assert (shorter.recipe.steps, shorter.recipe.warmup_steps) == (200, 20)
    assert shorter.source("recipe.steps") != OURS and "recipe.steps" in shorter.source("recipe.warmup_steps")
    longer = task.with_steps(9_000)
    assert (longer.recipe.steps, longer.recipe.warmup_steps) == (9_000, 300)
    restored = dataclasses.replace(shorter.recipe, steps=1_000, warmup_steps=300)
    assert dataclasses.replace(shorter, recipe=restored, sources=task.sources) == task
    with pytest.raises(ValueError, match=r"recipe\.steps is -1"):
        task.with_steps(-1)


@pytest.mark.parametrize("steps", [0, 1, 2, 9])
def test_with_steps_takes_any_number_of_steps(steps):
    assert tiny.tiny_task().with_steps(steps).recipe.steps == steps


@pytest.mark.parametrize(
    ("binarisation", "train", "test", "binary"),
    [
        (Binarisation.NONE, Binarisation.NONE, Binarisation.NONE, False),
        (Binarisation.GIVEN, Binarisation.GIVEN, Binarisation.GIVEN, True),
        (Binarisation.THRESHOLD, Binarisation.THRESHOLD, Binarisation.THRESHOLD, True),
        (Binarisation.STOCHASTIC, Binarisation.STOCHASTIC, Binarisation.STOCHASTIC, True),
        (Binarisation.STOCHASTIC_EACH_EPOCH, Binarisation.NONE, Binarisation.STOCHASTIC, True),
    ],
)
def test_what_ingestion_does_to_each_split(binarisation, train, test, binary):
    task = tiny.tiny_task(binarisation=binarisation)
    assert task.binary is binary
    assert task.split_binarisation("fit") is train
    assert {task.split_binarisation(split) for split in ("watch", "judge")} == {test}


def test_splits_are_named_once_and_in_order():
    names = {"builder": "tiny:1.0.0"}
    assert DataSource(**names, train="b", validation="a", test="c").splits == ("b", "a", "c")
    assert DataSource(**names, train="b", validation="a", test="a").splits == ("b", "a")


def test_a_task_can_be_read_without_tensorflow():
    tiny.run_python(
        "import sys; from trainer import tasks; tasks.get('mnist').to_json();"
        "assert not {'tensorflow', 'numpy'} & set(sys.modules)"
    )


# Fewer glimpses at first


def scheduled(*schedule, steps=40, **changes):
    return tiny.tiny_task({"steps": steps, "glimpse_schedule": schedule}, **changes)


def test_a_schedule_divides_the_steps_into_phases():
    task = scheduled((0.25, 2), (0.5, 4))
    assert task.glimpse_phases == ((0, 2), (10, 4), (20, tiny.STEPS))
    expected = {0: 2, 9: 2, 10: 4, 19: 4, 20: tiny.STEPS, 39: tiny.STEPS, 40: tiny.STEPS}
    assert {step: task.at_step(step).glimpses for step in expected} == expected
    assert task.at_step(9) == dataclasses.replace(task, glimpses=2) and task.at_step(20) == task
    assert {step: task.glimpses_before(step) for step in (0, 1, 10, 11, 20, 40, 99)} == {
        0: 0,
        1: 2,
        10: 20,
        11: 24,
        20: 60,
        40: 60 + 20 * tiny.STEPS,
        99: 60 + 20 * tiny.STEPS,
    }


def test_without_a_schedule_there_is_one_phase():
    task = tiny.tiny_task()
    assert task.glimpse_phases == ((0, tiny.STEPS),) and task.at_step(7) == task
    assert task.glimpses_before(7) == 7 * tiny.STEPS


def test_a_schedule_stretches_with_the_steps():
    task = scheduled((0.25, 2), (0.5, 4)).with_steps(100)
    assert task.glimpse_phases == ((0, 2), (25, 4), (50, tiny.STEPS))
    # A phase that is rounded to no step gives way, the first and the last one too.
    assert scheduled((0.1, 1), (0.2, 2), (0.9, 3)).with_steps(4).glimpse_phases == ((0, 2), (1, 3), (4, tiny.STEPS))
    assert scheduled((0.1, 1), (0.2, 2), (0.9, 3)).with_steps(1).glimpse_phases == ((0, 3), (1, tiny.STEPS))


def test_a_schedule_survives_json_and_has_a_source():
    task = scheduled((0.25, 2), (0.5, 4), sources={"recipe.glimpse_schedule": "a paper"})
    again = Task.from_json(task.to_json())
    assert again == task and again.recipe.glimpse_schedule == ((0.25, 2), (0.5, 4))
    assert json.loads(task.to_json())["sources"]["recipe.glimpse_schedule"] == "a paper"
    # An export that is older than schedules has none.
    values = json.loads(tiny.tiny_task().to_json())
    del values["recipe"]["glimpse_schedule"], values["sources"]["recipe.glimpse_schedule"]
    assert Task.from_json(json.dumps(values)) == tiny.tiny_task()


@pytest.mark.parametrize(
    "schedule",
    [
        ((0.0, 2),),
        ((1.0, 2),),
        ((1.5, 2),),
        ((-0.1, 2),),
        ((float("nan"), 2),),
        ((0.5, 2), (0.25, 4)),
        ((0.5, 2), (0.5, 4)),
        ((0.5, 0),),
        ((0.5, 2.5),),
        ((0.5,),),
        ((0.5, 2, 3),),
    ],
)
def test_an_illegal_schedule_is_refused(schedule):
    with pytest.raises(ValueError, match=r"recipe\.glimpse_schedule is .*the fractions rising between 0 and 1"):
        scheduled(*schedule)
