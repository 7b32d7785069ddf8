"""The step as a program of tensors is the trained step, and what is written for other machines is whole and goes on."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import export_step
from tests import tiny
from trainer.task import Binarisation
from trainer.training import loop, objective, optimizer, randomness, step

TASK = tiny.tiny_task({"steps": 20, "warmup_steps": 5, "validation_interval": 10}, glimpses=3)
FRESH = dataclasses.replace(TASK, binarisation=Binarisation.STOCHASTIC_EACH_EPOCH)


def intensities(task, seed=1):
    images = np.random.default_rng(seed).uniform(size=(tiny.BATCH, *task.image_shape)).astype(np.float32)
    return np.round(images) if task.binarisation is Binarisation.GIVEN else images


@pytest.mark.parametrize("task", [TASK, FRESH], ids=["given", "drawn_afresh"])
def test_a_step_is_the_gradients_and_the_update_on_that_steps_noise(task):
    state = step.TrainState(task)
    x = tf.constant(intensities(task))
    arguments = [*map(tf.constant, state.arrays().values())]
    arguments[-1] = tf.constant(7)

    # XLA's own noise, for it draws other numbers than TensorFlow does outside it.
    @tf.function(jit_compile=True)
    def drawn(count):
        pixels = randomness.binarised(task, count, x) if task is FRESH else x
        return pixels, randomness.training_noise(task, count, tiny.BATCH)

    pixels, eps = drawn(tf.constant(7))
    learned, scan = objective.for_task(task), step.scan_for(task)
    gradients, metrics = step.gradients(learned, state.read().parameters, pixels, eps, scan=scan)
    expected, _ = optimizer.update(task, tf.constant(7, tf.int64), state.read(), gradients)

    *arrays, count, bound = export_step.whole_step(task, tiny.BATCH)(*arguments, x)
    assert int(count) == 8
    np.testing.assert_allclose(bound, metrics.nll_bound, rtol=1e-5)
    for (name, value), found in zip(expected.flat().items(), arrays, strict=True):
        np.testing.assert_allclose(found, value, rtol=1e-4, atol=5e-5, err_msg=name)
    assert set(np.unique(pixels)) <= {0.0, 1.0}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    images = tiny.make_images(TASK, 23)
    return tiny.write_examples(tmp_path_factory.mktemp("examples"), images), images


@pytest.fixture(scope="module")
def written(files, tmp_path_factory):
    directory = tmp_path_factory.mktemp("program")
    paths, _ = files
    export_step.write(TASK, [4, 10], str(directory), paths[0].replace("00000-of", "*-of"))
    return directory


def test_the_folder_describes_itself(written, files):
    description = json.loads((written / "program.json").read_text(encoding="utf-8"))
    assert [entry["batch"] for entry in description["programs"]] == [4, 10]
    for entry in description["programs"]:
        assert (written / entry["file"]).stat().st_size > 1_000
    with np.load(written / "state.npz") as state:
        assert list(state) == description["state"] and description["state"][-1] == "step"
    assert description["divisor"] == 1 and description["task"]["name"] == TASK.name
    with np.load(written / "images.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], files[1])


@pytest.mark.parametrize(("task", "divisor"), [(TASK, 1), (FRESH, 255), (tiny.MODELS["attention_colour"], 255)])
def test_intensities_are_divided_and_bits_are_not(task, divisor, tmp_path):
    export_step.write(task, [2], str(tmp_path))
    assert json.loads((tmp_path / "program.json").read_text(encoding="utf-8"))["divisor"] == divisor


def test_a_program_has_the_tasks_glimpses_from_the_first_step_on(tmp_path):
    x = tf.constant(tiny.make_images(TASK, 4), tf.float32)
    losses = []
    for schedule in ((), ((0.5, 2),)):
        task = tiny.tiny_task({"glimpse_schedule": schedule})
        state = [tf.constant(value) for value in export_step.initial_state(task).values()]
        *_, loss = export_step.whole_step(task, 4)(*state[:-1], tf.cast(state[-1], tf.int32), x)
        losses.append(float(loss))
    assert losses[0] == losses[1]


def test_a_pattern_that_matches_nothing_leaves_no_complete_folder(tmp_path):
    with pytest.raises(ValueError, match="No file of examples"):
        export_step.write(TASK, [4], str(tmp_path), str(tmp_path / "nothing-*"))
    assert not (tmp_path / "program.json").exists()


# Going on from a state that was trained elsewhere


@pytest.fixture(scope="module")
def data(files):
    return {"train_files": files[0], "validation_files": files[0]}


def train(task, data, directory, **options):
    lines = []
    return loop.train(task, **data, directory=str(directory), report=lines.append, **options), lines


@pytest.fixture(scope="module")
def halfway(data, tmp_path_factory):
    """The state after 10 of the 20 steps, as an .npz."""
    directory = tmp_path_factory.mktemp("halfway")
    state = step.TrainState(TASK)
    checkpoint = tf.train.Checkpoint(state=state)
    with pytest.MonkeyPatch.context() as patch:
        real = step.Trainer.validate

        def stop_at_ten(self, batches):
            found = real(self, batches)
            if int(self.state.step) == 10:
                np.savez(directory / "state.npz", **self.state.arrays())
            return found

        patch.setattr(step.Trainer, "validate", stop_at_ten)
        weights, _ = train(TASK, data, directory / "run")
    checkpoint.restore(tf.train.latest_checkpoint(directory / "run")).assert_consumed()
    assert int(state.step) == 20
    return directory / "state.npz", weights


def test_it_ends_with_the_weights_of_a_run_in_one_place(halfway, data, tmp_path):
    path, expected = halfway
    weights, lines = train(TASK, data, tmp_path / "run", initial_state=str(path))
    assert lines[0] == f"resuming at step 10 of 20 from {path}"
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)
    # Checkpoints are further on than the state.
    _, lines = train(TASK, data, tmp_path / "run", initial_state=str(path))
    assert lines[0].startswith("resuming at step 20 of 20 from") and "ckpt-20" in lines[0]


def test_arrays_and_load_are_inverse(halfway):
    state = step.TrainState(TASK)
    with np.load(halfway[0]) as arrays:
        expected = dict(arrays)
    state.load(expected)
    assert state.arrays().keys() == expected.keys() and int(state.step) == 10
    for name, value in state.arrays().items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda arrays: arrays.pop("average/encoder/w"), "average/encoder/w.*found shape none"),
        (lambda arrays: arrays.update(other=np.zeros(3)), "other.*expected no such array"),
        (lambda arrays: arrays.update(step=np.zeros([2], np.int64)), r"'step': found shape \(2,\), expected \(\)"),
    ],
)
def test_another_models_state_is_refused_and_nothing_taken(halfway, spoil, message):
    with np.load(halfway[0]) as arrays:
        arrays = dict(arrays)
    spoil(arrays)
    state = step.TrainState(TASK)
    before = state.arrays()
    with pytest.raises(ValueError, match=message):
        state.load(arrays)
    for name, value in state.arrays().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@pytest.mark.parametrize("content", [b"", b"neither zip nor npy", None])
def test_a_file_that_is_no_state_is_named(data, tmp_path, content):
    path = tmp_path / "state.npz"
    if content is None:
        np.save(path.open("wb"), np.zeros(3))
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"Cannot start from {path}"):
        train(TASK, data, tmp_path / "run", initial_state=str(path))
