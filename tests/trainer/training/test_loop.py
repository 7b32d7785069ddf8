"""The outer loop: a killed run resumes to the same bits, summaries are complete, divergence stops with advice."""

import dataclasses
import json
import logging
import os
import random
import re
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.task import Binarisation, NoAttention
from trainer.training import loop, objective, step

# Validation does not fall on the last step; the steps are too few to be over before the run is killed.
TASK = tiny.tiny_task({"steps": 310, "validation_interval": 100, "warmup_steps": 5}, glimpses=3)

RUN = """
import json, sys
import numpy as np
from trainer import loop
from trainer.task import Task

loop._CALL_SECONDS = 0.02  # many short calls, with a checkpoint after each
arguments = json.loads(sys.argv[1])
task = Task.from_json(arguments.pop("task"))
output = arguments.pop("output")
weights = loop.train(task, report=lambda line: print(line, flush=True), **arguments)
np.savez(output, **weights)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    images = tiny.make_images(TASK, 37)
    files = tiny.write_examples(directory / "fit", images[:23]), tiny.write_examples(directory / "watch", images[23:])
    return {"train_files": files[0], "validation_files": files[1]}


def train(task, data, directory):
    lines = []
    weights = loop.train(task, **data, directory=str(directory), report=lines.append)
    return weights, lines


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("uninterrupted") / "run"
    warned = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warned.append(record.getMessage())
    logging.getLogger("trainer.training.loop").addHandler(handler)
    weights, lines = train(TASK, data, directory)
    logging.getLogger("trainer.training.loop").removeHandler(handler)
    return weights, lines, directory, warned


def scalars(directory):
    """Tag to {step: value}; a step that was done twice counts as it was done last. Images are None."""
    found = {}
    for path in sorted((directory / "logs").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                image = value.metadata.plugin_data.plugin_name == "images"
                number = None if image else float(tf.make_ndarray(value.tensor))
                found.setdefault(value.tag, {})[event.step] = number
    return found


def checkpoints(directory):
    return sorted(int(path.stem.split("-")[1]) for path in directory.glob("ckpt-*.index"))


# Resuming


@pytest.fixture(scope="module")
def killed_and_resumed(data, tmp_path_factory):
    """A run that was killed in the middle of training, and its second half."""
    directory = tmp_path_factory.mktemp("killed") / "run"
    output = directory.parent / "weights.npz"
    arguments = {"task": TASK.to_json(), "output": str(output), "directory": str(directory), **data}
    process = tiny.python(RUN, json.dumps(arguments))
    while process.poll() is None and not (directory.is_dir() and len(checkpoints(directory)) >= 2):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL and not output.exists(), errors[-4000:]
    stood = checkpoints(directory)
    lines = tiny.run_python(RUN, json.dumps(arguments)).splitlines()
    return directory, stood, lines, dict(np.load(output))


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(killed_and_resumed, uninterrupted):
    directory, stood, _, weights = killed_and_resumed
    assert 0 < stood[-1] < TASK.recipe.steps
    assert checkpoints(directory)[-1] == TASK.recipe.steps
    expected = uninterrupted[0]
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)


def test_a_resumed_run_says_where_it_goes_on(killed_and_resumed, uninterrupted):
    _, stood, lines, _ = killed_and_resumed
    said = [line for line in lines if "resum" in line]
    assert len(said) == 1 and any(f"step {step:,} of 310" in said[0] for step in stood)
    assert not [line for line in uninterrupted[1] if "resum" in line]
    assert lines[-1] == uninterrupted[1][-1]


def test_validation_falls_on_the_same_steps_with_the_same_bound(killed_and_resumed, uninterrupted):
    expected = scalars(uninterrupted[2])["validation/nll_bound"]
    assert list(expected) == [100, 200, 300, 310]
    assert scalars(killed_and_resumed[0])["validation/nll_bound"] == expected


def test_a_finished_run_trains_no_further_and_has_the_same_weights(data, uninterrupted):
    weights, lines, directory, _ = uninterrupted
    before = checkpoints(directory)
    again, more = train(TASK, data, directory)
    assert checkpoints(directory) == before and "resuming at step 310 of 310" in more[0]
    assert more[-1] == lines[-1]
    for name, value in weights.items():
        np.testing.assert_array_equal(again[name], value)


def test_the_exported_weights_are_the_average(uninterrupted):
    weights, _, directory, _ = uninterrupted
    state = step.TrainState(TASK)
    tf.train.Checkpoint(state=state).restore(tf.train.latest_checkpoint(directory)).assert_consumed()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, state.average[name])
        assert not np.array_equal(value, state.parameters[name])


def test_two_checkpoints_are_kept(uninterrupted):
    assert len(checkpoints(uninterrupted[2])) == 2


CROPS = dataclasses.replace(TASK.data, crop_margin=(2, 3))
MODES = {
    "bfloat16 products": tiny.tiny_task({"matmul_dtype": "bfloat16", "jit_compile": True}, glimpses=2),
    "crops, binarised at each visit": tiny.tiny_task(
        data=CROPS, binarisation=Binarisation.STOCHASTIC_EACH_EPOCH, glimpses=2
    ),
    "no attention, in colour": tiny.tiny_task(
        image_shape=(tiny.ROWS, tiny.COLUMNS, 3), binarisation=Binarisation.NONE, attention=NoAttention(), glimpses=2
    ),
    "the last weights": tiny.tiny_task({"ema_decay": 0.0}, glimpses=2),
}


@pytest.mark.parametrize(
    "mode", [*list(MODES)[:2], *(pytest.param(m, marks=pytest.mark.slow) for m in list(MODES)[2:])]
)
def test_every_mode_resumes_to_the_same_bits(tmp_path, mode):
    """Interrupted at a random step, after a checkpoint."""
    task = MODES[mode]
    images = tiny.make_images(task, 23, binary=task.split_binarisation("fit") is not Binarisation.NONE)
    files = tiny.write_examples(tmp_path / "fit", images)
    watch = tiny.write_examples(tmp_path / "watch", tiny.make_images(task, 5))
    data = {"train_files": files, "validation_files": watch}
    last = random.randint(2, task.recipe.steps - 10)
    real = step.Trainer.train

    def interrupted(self, batches, steps):
        if int(self.state.step) >= last:
            raise KeyboardInterrupt
        return real(self, batches, steps)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_CALL_SECONDS", 1e-3)  # a call a step
        expected, _ = train(task, data, tmp_path / "uninterrupted")
        with patch.context() as inner:
            inner.setattr(step.Trainer, "train", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(task, data, tmp_path / "run")
        weights, (resumed, *_) = train(task, data, tmp_path / "run")
    assert f"resuming at step {last} of {task.recipe.steps}" in resumed
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=f"{name}, interrupted at step {last}")


# What a person sees


def test_tensorboard_holds_what_is_promised(uninterrupted):
    found = scalars(uninterrupted[2])
    training = {
        f"train/{name}"
        for name in ("nll_bound", "reconstruction", "kl", "gradient_norm", "learning_rate", "examples_per_second")
    }
    validation = {f"validation/{name}" for name in ("nll_bound", "reconstruction", "kl")}
    by_step = {f"validation_kl_by_step/{t:03d}" for t in range(1, TASK.glimpses + 1)}
    assert set(found) == training | validation | by_step | {"samples", "drawings"}
    for tag in training:
        assert list(found[tag]) == list(found["train/nll_bound"]) and max(found[tag]) == TASK.recipe.steps
    for tag in validation | by_step | {"samples", "drawings"}:
        assert list(found[tag]) == [100, 200, 300, 310]
    for moment in (100, 310):
        kl = sum(found[tag][moment] for tag in by_step)
        assert found["validation/kl"][moment] == pytest.approx(kl, rel=1e-5)
        assert found["validation/nll_bound"][moment] == pytest.approx(
            found["validation/reconstruction"][moment] + kl, rel=1e-5
        )
    for moment, bound in found["train/nll_bound"].items():
        assert bound == pytest.approx(found["train/reconstruction"][moment] + found["train/kl"][moment], rel=1e-5)
    assert min(found["train/examples_per_second"].values()) > 0


def test_the_last_line_has_the_step_and_the_bound_of_the_exported_weights(uninterrupted):
    _, lines, directory, _ = uninterrupted
    bound = scalars(directory)["validation/nll_bound"][310]
    assert lines[-1].startswith("step 310/310") and f"{bound:.2f} nats" in lines[-1]


def test_progress_has_steps_nats_and_rate(monkeypatch, data, tmp_path):
    """A clock that runs a minute a look makes a line due after each call."""
    ticks = iter(range(0, 10**6, 60))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(ticks))
    task = tiny.tiny_task({"steps": 3, "warmup_steps": 0, "validation_interval": 1}, glimpses=2)
    _, lines = train(task, data, tmp_path / "run")
    assert len(lines) == 4
    for number, line in enumerate(lines[:3], start=1):
        for part in (f"step {number}/3", "nats (KL ", "examples/s", "left"):
            assert part in line
    assert "validation" in lines[1]


# What goes wrong


def poison(monkeypatch, after):
    """A step that gives NaN, as an overflow does: in the metrics, and in the weights that it leaves behind."""
    real = step.Trainer.train

    def train(self, batches, steps):
        metrics = real(self, batches, steps)
        if int(self.state.step) > after:
            for variable in self.state.parameters.values():
                variable.assign(tf.fill(variable.shape, float("nan")))
            metrics = metrics._replace(means=metrics.means._replace(nll_bound=tf.constant(float("nan"))))
        return metrics

    monkeypatch.setattr(step.Trainer, "train", train)


def test_a_bound_that_is_no_number_stops_with_advice_and_leaves_the_older_checkpoint(monkeypatch, data, tmp_path):
    task = tiny.tiny_task(glimpses=2)
    poison(monkeypatch, after=9)
    with pytest.raises(loop.TrainingDiverged, match=r"by step .*: nll_bound nan.*learning_rate.*clip_norm"):
        train(task, data, tmp_path / "run")
    latest = tf.train.latest_checkpoint(str(tmp_path / "run"))
    state = step.TrainState(task)
    tf.train.Checkpoint(state=state).restore(latest).assert_consumed()
    assert 0 < int(state.step) <= 9
    assert all(np.isfinite(variable.numpy()).all() for variable in state.variables)


def test_a_rate_that_is_far_too_high_stops_the_run(data, tmp_path):
    task = tiny.tiny_task({"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 1e6}, glimpses=2)
    with pytest.raises(loop.TrainingDiverged, match="diverged by step"):
        train(task, data, tmp_path / "run")


def test_a_last_step_that_diverges_exports_nothing(data, tmp_path):
    """The training metrics of a step are those of the weights before it: only the validation sees the last ones."""
    task = tiny.tiny_task(
        {"steps": 1, "learning_rate": 1e30, "warmup_steps": 0, "ema_decay": 0.0, "validation_interval": 5},
        glimpses=2,
    )
    with pytest.raises(loop.TrainingDiverged, match=r"validation_nll_bound.*learning_rate"):
        train(task, data, tmp_path / "run")
    assert not checkpoints(tmp_path / "run")


def test_a_collapsed_posterior_is_warned_of(monkeypatch, caplog, data, tmp_path):
    """The KL is put at 0.4 nats: training until it collapses by itself would take minutes."""
    task = tiny.tiny_task({"steps": 1_010, "warmup_steps": 0, "validation_interval": 2_000}, glimpses=2)
    monkeypatch.setattr(step.Trainer, "validate", lambda self, batches: objective.BoundMetrics(20.0, 19.6, [0.3, 0.1]))
    train(task, data, tmp_path / "run")
    (warned,) = [record.getMessage() for record in caplog.records if "collapsed" in record.getMessage()]
    assert re.match(r"At step 1,010 the KL is 0\.40 nats: .*collapsed.*Try", warned)


def test_early_training_is_not_warned_of(uninterrupted):
    """Before 1,000 steps a small KL is how training starts."""
    _, _, directory, warned = uninterrupted
    assert max(scalars(directory)["validation/kl"].values()) < 1
    assert not [text for text in warned if "collapsed" in text]


@pytest.mark.parametrize("which", ["train_files", "validation_files"])
def test_files_without_examples_are_refused_before_training(data, tmp_path, which):
    with pytest.raises(ValueError, match="examples"):
        train(TASK, {**data, which: []}, tmp_path / "run")
    assert not (tmp_path / "run").exists() or not checkpoints(tmp_path / "run")


def test_another_tasks_checkpoints_are_not_taken_for_its_own(data, uninterrupted):
    other = dataclasses.replace(TASK, lstm_units=tiny.UNITS + 1)
    with pytest.raises(ValueError, match=r"(?i)shape"):
        train(other, data, uninterrupted[2])
