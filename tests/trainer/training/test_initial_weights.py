"""Training starts from a model's weights, from a training under way, or from a whole state, and from nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.export import exporter
from trainer.training import initial_weights, loop, objective
from trainer.training.step import TrainState

TASK = tiny.tiny_task()


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return objective.for_task(TASK).initial_weights(seed=5)


@pytest.fixture(scope="module")
def model(weights: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of those weights."""
    folder = tmp_path_factory.mktemp("model") / "7"
    exporter.export(TASK, weights, str(folder))
    return folder


def started(path: Path) -> TrainState:
    state = TrainState(TASK)
    state.step.assign(3)
    initial_weights.load(state, str(path))
    return state


def same(values, expected) -> None:
    assert values.keys() == expected.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(value, expected[name])


def test_a_models_weights_come_back_to_the_bit(model: Path, weights: dict[str, np.ndarray]) -> None:
    state = started(model)
    same(state.parameters, weights)
    same(state.average, weights)
    assert not any(np.any(value) for value in state.first_moment.values())


def test_of_a_training_under_way_it_is_the_average(tmp_path: Path) -> None:
    state = TrainState(TASK)
    for group, factor in ((state.parameters, 2.0), (state.average, 3.0)):
        for variable in group.values():
            variable.assign(tf.fill(variable.shape, factor))
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(state=state), str(tmp_path), max_to_keep=2)
    manager.save()
    state = started(tmp_path)
    for group in (state.parameters, state.average):
        assert all(np.all(value.numpy() == 3.0) for value in group.values())


def test_a_whole_state_comes_back_with_its_step(tmp_path: Path) -> None:
    arrays = {name: np.full_like(value, 2) for name, value in TrainState(TASK).arrays().items()}
    np.savez(tmp_path / "state.npz", **arrays)
    same(started(tmp_path / "state.npz").arrays(), arrays)


def test_a_state_that_is_past_the_tasks_steps_says_that_nothing_is_trained(tmp_path: Path) -> None:
    """As a state of a longer training is: its weights would be exported as if they had been trained on."""
    files = tiny.write_examples(tmp_path, tiny.make_images(TASK, 20))
    np.savez(tmp_path / "state.npz", **{**TrainState(TASK).arrays(), "step": np.int64(TASK.recipe.steps)})
    lines: list[str] = []
    options = {"train_files": files, "validation_files": files, "directory": str(tmp_path / "run")}
    loop.train(TASK, **options, initial_state=str(tmp_path / "state.npz"), report=lines.append)
    expected = f"nothing is left to train: {tmp_path}/state.npz is a training's state, at step 40 of 40. To go on "
    assert lines[0].startswith(expected)


def test_another_models_weights_are_refused_by_name(tmp_path: Path) -> None:
    other = tiny.tiny_task(lstm_units=tiny.UNITS + 1)
    exporter.export(other, objective.for_task(other).initial_weights(seed=5), str(tmp_path / "model"))
    state = TrainState(TASK)
    before = state.arrays()
    with pytest.raises(ValueError, match=r"model: This is not the weights of this task: .* found shape"):
        initial_weights.load(state, str(tmp_path / "model"))
    same(state.arrays(), before)


@pytest.mark.parametrize("content", [None, b"", b"nothing of the kind"])
def test_what_holds_no_weights_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "here"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"Cannot start from {path}: "):
        initial_weights.load(TrainState(TASK), str(path))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_state_is_refused_wherever_the_damage_lies(tmp_path: Path, save: Callable[..., None]) -> None:
    """A changed byte is met by zipfile, zlib or NumPy, each of which has exceptions of its own."""
    save(tmp_path / "sound.npz", **{"step": np.int64(3), "parameters/write/b": np.arange(50.0)})
    content, path, refusals = (tmp_path / "sound.npz").read_bytes(), tmp_path / "state.npz", set()
    state = TrainState(TASK)
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        with pytest.raises(ValueError, match=f"^Cannot start from {path}: ") as refusal:
            initial_weights.load(state, str(path))
        refusals.add(type(refusal.value.__cause__).__name__)
    assert refusals >= {"BadZipFile", "NotImplementedError", "ValueError"}


def test_no_steps_return_the_very_weights(tmp_path: Path, model: Path, weights: dict[str, np.ndarray]) -> None:
    files = tiny.write_examples(tmp_path, tiny.make_images(TASK, 20))
    task = dataclasses.replace(TASK, recipe=dataclasses.replace(TASK.recipe, steps=0, warmup_steps=0))
    lines: list[str] = []
    trained = loop.train(
        task,
        train_files=files,
        validation_files=files,
        directory=str(tmp_path / "run"),
        initial_state=str(model),
        report=lines.append,
    )
    same(trained, weights)
    assert lines[0] == f"starting from {model}"
