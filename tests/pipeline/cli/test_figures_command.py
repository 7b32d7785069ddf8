"""`draw figures` as a user types it, on small models that were really exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

from components.run_report import event_curves
from pipeline.cli import figures_command
from pipeline.cli.main import main
from serving import pretrained
from tests import tiny
from tests.serving.model_server import export_model
from trainer.task import NoAttention

ATTENTION = {"drawings.png", "drawings.gif", "drawings.webp", "patches.png", "put-back.png", "samples.png", "costs.png"}


def _draw(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["figures", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


def _log(folder: Path, cost: str, *, steps: range = range(0, 100, 10), shift: float = 0.0) -> None:
    with tf.summary.create_file_writer(str(folder)).as_default():
        for step in steps:
            for split in ("train", "validation"):
                tf.summary.scalar(f"{split}/{cost}", 90 + 40 / (step + 1) + shift, step=step)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """Models, examples and logs: by kind, the options that name all there is."""
    root = tmp_path_factory.mktemp("figures")

    def options(kind: str, task, cost: str) -> list[object]:
        folder = root / kind
        images = tiny.make_images(task, 12)
        tiny.write_examples(folder / "examples", images)
        _log(folder / "logs", cost)
        return [
            *("--model", export_model(task, folder / "model"), "--examples", f"{folder}/examples/*"),
            *("--training", f"{folder}/examples/*", "--logs", folder / "logs"),
        ]

    kinds = {kind: options(kind, task, "nll_bound") for kind, task in tiny.MODELS.items() if "no_att" not in kind}
    return kinds | {"classifier": options("classifier", tiny.CLASSIFIER, "cross_entropy")}


def test_a_pretrained_model_has_the_steps_that_it_was_trained_for() -> None:
    """Its task has the recipe of the last stage, or of none of them."""
    stages = pretrained.metrics("mnist")["training"]
    steps = sum(stage["steps"] for stage in stages)
    assert figures_command._inputs_from_model("mnist").name == f"Pretrained model, {steps:,} training steps"
    folder = str(pretrained.find("mnist"))
    assert figures_command._inputs_from_model(folder).name == "Model 1", "a folder says nothing of it"


@pytest.mark.parametrize("kind", ["attention", pytest.param("attention_colour", marks=pytest.mark.slow)])
def test_a_generative_model_has_all_figures(made, kind: str, tmp_path: Path) -> None:
    status, said = _draw("--out", tmp_path / "a", "--seed", 3, *made[kind])
    assert status == 0, said
    assert "Fig. 5                  not drawn: tiny is no classifier\n" in said
    assert said.count("not drawn") == 1
    assert {path.name for path in (tmp_path / "a").iterdir()} == ATTENTION
    with Image.open(tmp_path / "a" / "samples.png") as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    numbers = {"attention": ("Fig. 1 ", "Fig. 6 "), "attention_colour": ("Fig. 10 ", "Fig. 12 ")}[kind]
    for number, name in zip(numbers, ("drawings.png", "samples.png"), strict=True):
        assert any(line.startswith(number) and line.endswith(name) for line in said.splitlines())


def test_the_same_seed_gives_the_same_bytes(made, tmp_path: Path) -> None:
    written = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        # Without the figures that have no seed.
        assert _draw("--out", tmp_path / name, "--seed", seed, *made["attention"][:2])[0] == 0
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    a, b, c = written
    assert a == b
    assert {name for name in a if a[name] != c[name]} >= {"drawings.png", "drawings.gif", "samples.png"}


def test_a_classifier_has_glimpses_and_draws_nothing(made, tmp_path: Path) -> None:
    status, said = _draw("--out", tmp_path, *made["classifier"])
    assert status == 0, said
    first, *others = said.splitlines()
    assert first == "Figs. 1, 6 to 10 and 12 not drawn: tiny_classifier is a classifier, which draws no images"
    assert [line.split("/")[-1] for line in others] == [
        *("patches.png", "put-back.png", "glimpses.png", "glimpses.gif", "glimpses.webp", "costs.png")
    ]


def test_what_a_model_has_not_is_told_with_the_reason(tmp_path: Path) -> None:
    folder = export_model(tiny.MODELS["no_attention"], tmp_path / "model")
    status, said = _draw("--out", tmp_path / "out", "--model", folder / "3")
    assert status == 0, said
    assert {path.name for path in (tmp_path / "out").iterdir()} == ATTENTION - {
        "patches.png",
        "put-back.png",
        "costs.png",
    }
    for part in ("Fig. 7 ", "Figs. 3 and 4 ", "tiny reads without attention", "--training", "--logs"):
        assert part in said


def test_weights_that_were_exported_without_training_have_no_curves(tmp_path: Path) -> None:
    """As `draw run --init-from MODEL --steps 0` does, whose folder of logs is empty."""
    folder = export_model(tiny.tiny_task({"steps": 0, "warmup_steps": 0}, attention=NoAttention()), tmp_path / "model")
    (tmp_path / "logs").mkdir()
    status, said = _draw("--out", tmp_path / "out", "--model", folder, "--logs", tmp_path / "logs")
    assert status == 0, said
    assert "Fig. 11                 not drawn: the model was exported without training, so there are no curves" in said


def test_what_is_not_there_is_one_message(made, tmp_path: Path) -> None:
    model = made["attention"][:2]
    (tmp_path / "empty").mkdir()
    tiny.write_examples(tmp_path / "other", tiny.make_images(tiny.CLASSIFIER, 3))
    for arguments, message in (
        (["--pipeline-root", tmp_path], "Error: There is no run here: "),
        (["--task", "minst"], "Error: There is no task 'minst'"),
        (["--model", tmp_path / "empty"], "Error: There is no model in "),
        ([*model, "--examples", f"{tmp_path}/no/*"], "Error: No file of examples matches "),
        ([*model, "--training", f"{tmp_path}/other/*"], "Error: it has 105 bytes; expected 35"),
        ([*model, "--logs", tmp_path / "empty"], "Error: The logs in "),
    ):
        status, said = _draw("--out", tmp_path / "out", *arguments)
        assert status == 1
        assert said.splitlines()[-1].startswith(message)


def test_a_resumed_trainings_curve_has_each_step_once_as_it_was_done_last(tmp_path: Path) -> None:
    _log(tmp_path, "nll_bound")
    (first,) = tmp_path.iterdir()
    _log(tmp_path, "nll_bound", steps=range(50, 120, 10), shift=7.0)
    # As a kill leaves it.
    first.write_bytes(first.read_bytes()[:-9])
    # Both were begun in the same second, so their names do not tell which was first.
    first.rename(first.with_name("0.tfevents"))
    logged = event_curves.read(str(tmp_path)).by_tag
    training, validation = logged["train/nll_bound"], logged["validation/nll_bound"]
    assert training.steps.tolist() == list(range(0, 120, 10))
    expected = 90 + 40 / (training.steps + 1) + np.where(training.steps < 50, 0, 7.0)
    np.testing.assert_allclose(training.values, expected, rtol=1e-6)
    np.testing.assert_allclose(validation.values, expected, rtol=1e-6)
