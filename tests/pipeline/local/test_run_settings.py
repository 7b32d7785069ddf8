"""What a user asks for is checked at once, and paths do not depend on the folder of the next run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.local.run_settings import RunSettings
from pipeline.option_fields import absolute_path
from trainer import tasks
from trainer.task import ErrorGate


def _resolve(root: Path, **changes: object) -> RunSettings:
    """As click makes them, with the folder."""
    paths = {
        name: absolute_path(value) for name, value in changes.items() if name == "data_dir" and isinstance(value, str)
    }
    settings = RunSettings(**{"pipeline_root": absolute_path(root), **changes, **paths})  # type: ignore[arg-type]
    settings.make_folder()
    return settings


def test_what_is_not_given_is_as_the_task_has_it(tmp_path: Path) -> None:
    settings = _resolve(tmp_path)
    assert settings.task == tasks.get("digits")
    assert settings.gate == tasks.get("digits").gate
    assert settings.data_dir is None


def test_paths_are_absolute_and_below_the_tasks_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    settings = _resolve(Path("runs"), data_dir="data", task_name="mnist")
    assert settings.folder == tmp_path / "runs" / "mnist"
    assert settings.data_dir == tmp_path / "data"
    assert settings.serving_dir == tmp_path / "runs" / "mnist" / "serving" / "mnist"
    for path in (settings.metadata_path, settings.checkpoint_root, settings.log_dir, settings.sample_sheet("1").parent):
        assert path.parent == settings.folder


@pytest.mark.parametrize("name", ["br [1]", "x*y", "what?"])
def test_a_root_that_tfx_takes_for_a_pattern_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which TFX takes for a pattern of files"):
        _resolve(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_training_starts_from_a_path_or_a_pretrained_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state.npz").touch()
    assert _resolve(tmp_path, init_from="state.npz").initial_weights == tmp_path / "state.npz"
    (tmp_path / "models" / "mnist").mkdir(parents=True)
    (tmp_path / "models" / "mnist" / "metrics.json").touch()
    monkeypatch.setenv("DRAW_MODELS", str(tmp_path / "models"))
    assert _resolve(tmp_path, init_from="mnist", steps=0).initial_weights == tmp_path / "models" / "mnist"
    assert _resolve(tmp_path).initial_weights is None


def test_another_gate_leaves_the_task_so_that_its_model_stays_cached(tmp_path: Path) -> None:
    settings = _resolve(tmp_path, max_nll_bound=200.0)
    assert settings.gate.max_nll_bound == 200.0
    assert settings.gate.tolerance == tasks.get("digits").gate.tolerance
    classifier = _resolve(tmp_path, task_name="cluttered_mnist", max_error=0.5)
    assert classifier.gate == ErrorGate(max_error=0.5, tolerance=tasks.get("cluttered_mnist").gate.tolerance)
    assert settings.task == tasks.get("digits")


def test_steps_change_the_task(tmp_path: Path) -> None:
    assert _resolve(tmp_path, steps=7).task == tasks.get("digits").with_steps(7)


def test_a_composed_data_set_is_made_as_large_as_asked(tmp_path: Path) -> None:
    task = _resolve(tmp_path, task_name="cluttered_mnist", train_examples=20_000).task
    assert task.data.builder == "cluttered_mnist/mnist-20000:1.0.0"
    assert task.sources["data.builder"] == "given by the user"


def test_name_is_one_that_kubeflow_accepts_too(tmp_path: Path) -> None:
    assert _resolve(tmp_path, task_name="mnist_no_attention").pipeline_name == "draw-mnist-no-attention"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_name": "minst"}, "minst.*digits, mnist, mnist_no_attention"),
        ({"steps": -3}, "steps is -3: give at least 0"),
        ({"max_nll_bound": float("nan")}, "nan"),
        ({"train_examples": 100}, "digits:1.0.0 has a fixed number"),
        ({"task_name": "cluttered_mnist", "train_examples": 0}, "training examples is 0: give at least 1"),
        ({"score_samples": 0}, "Got 0 samples to score"),
        ({"task_name": "cluttered_mnist", "score_samples": 3}, "3 samples to score of each image of cluttered_mnist"),
        ({"max_error": 0.1}, "digits is a generative task.*give the greatest bound"),
        ({"task_name": "cluttered_mnist", "max_nll_bound": 9.0}, "is a classifier.*give the greatest error"),
        ({"task_name": "cluttered_mnist", "max_error": float("nan")}, "max_error is nan.*between 0 and 1"),
        ({"data_dir": "/no/such/folder"}, "/no/such/folder does not exist"),
        ({"init_from": "/no/such/state.npz"}, "nothing at /no/such/state.npz to start from"),
        ({"steps": 0}, "nothing is trained: name the weights to export with --init-from"),
        ({"data_dir": __file__}, "does not exist|not a folder"),
        ({"pipeline_root": Path(__file__)}, "Cannot make the folder .*: Not a directory"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _resolve(tmp_path, **changes)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir(mode=0o500)
    with pytest.raises(ValueError, match="Cannot write to the folder"):
        _resolve(tmp_path)


def test_a_run_of_a_task_file_has_the_folder_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "my-parts.yaml"
    file.write_text("like: mnist\nname: parts\n")
    settings = _resolve(tmp_path / "runs", task_name=str(file), task_values=("glimpses=7",))
    assert settings.folder == tmp_path / "runs" / "parts" and settings.serving_dir.name == "parts"
    assert settings.pipeline_name == "draw-parts"
    assert settings.task.glimpses == 7
