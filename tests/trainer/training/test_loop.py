"""The outer loop: a killed run resumes to the same bits, summaries are complete, divergence stops with advice."""

import copy
import dataclasses
import json
import logging
import os
import random
import re
import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.task import Binarisation, NoAttention
from trainer.training import loop, objective, step

# Validation does not fall on the last step.
TASK = tiny.tiny_task({"steps": 31, "validation_interval": 10, "warmup_steps": 5}, glimpses=3)

TRAINER = step.Trainer


@pytest.fixture(autouse=True, scope="module")
def compiled_once():
    """Runs of one task share its compiled functions; each begins with the state of step 0, as a new trainer does."""
    trainers, initial = {}, {}

    def trainer(task, strategy, *, step=0, state=None):
        # The step does not depend on these.
        recipe = dataclasses.replace(task.recipe, checkpoint_seconds=0.0, validation_interval=1)
        name = dataclasses.replace(task, recipe=recipe).to_json()
        key = name, task.at_step(step).glimpses
        if key not in trainers:
            trainers[key] = TRAINER(task, strategy, step=step, state=state)
        if name not in initial:
            initial[name] = trainers[key].state.arrays()
        if state is None:
            trainers[key].state.load(initial[name])
        shared = copy.copy(trainers[key])
        shared.task = task
        return shared

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "Trainer", trainer)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), TASK)


def write_data(directory, task):
    fit = tiny.make_images(task, 23, binary=task.split_binarisation("fit") is not Binarisation.NONE)
    watch = tiny.make_images(task, 14)
    return {
        "train_files": tiny.write_examples(directory / "fit", fit),
        "validation_files": tiny.write_examples(directory / "watch", watch),
    }


def train(task, data, directory, **options):
    lines = []
    weights = loop.train(task, **data, directory=str(directory), report=lines.append, **options)
    return weights, lines


@pytest.fixture
def clock(monkeypatch):
    """A clock that only training moves: each glimpse takes a second. A call is then of one step."""
    now = SimpleNamespace(seconds=0, seconds_per_glimpse=1, seconds_to_compile=0, compiled=set())

    def train(self, batches, steps):
        if self.glimpses not in now.compiled:
            now.compiled.add(self.glimpses)
            now.seconds += now.seconds_to_compile
        now.seconds += steps * self.glimpses * now.seconds_per_glimpse
        return real(self, batches, steps)

    real = TRAINER.train
    monkeypatch.setattr(TRAINER, "train", train)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    monkeypatch.setattr(loop, "_CALL_SECONDS", 0)
    return now


def interrupt(patch, at):
    """Raises KeyboardInterrupt, as somebody's signal would, before step `at`."""
    real = TRAINER.train

    def train(self, batches, steps):
        if int(self.state.step) >= at:
            raise KeyboardInterrupt
        return real(self, batches, steps)

    patch.setattr(TRAINER, "train", train)


def train_in_two(task, data, directory, at):
    """Trains until just before step `at`, then the rest."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, at)
        with pytest.raises(KeyboardInterrupt):
            train(task, data, directory)
    return train(task, data, directory)


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
    values = {}
    for path in sorted((directory / "logs").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                image = value.metadata.plugin_data.plugin_name == "images"
                number = None if image else float(tf.make_ndarray(value.tensor))
                values.setdefault(value.tag, {})[event.step] = number
    return values


def checkpoints(directory):
    return sorted(int(path.stem.split("-")[1]) for path in directory.glob("ckpt-*.index"))


def assert_same(weights, expected, message=""):
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=f"{name} {message}")


# Resuming


@pytest.fixture
def resumed(data, tmp_path, clock):
    """A run that was interrupted before step 17, four steps after its last checkpoint, and its second half."""
    task = dataclasses.replace(TASK, recipe=dataclasses.replace(TASK.recipe, checkpoint_seconds=12 * TASK.glimpses))
    weights, lines = train_in_two(task, data, tmp_path / "run", 17)
    return tmp_path / "run", lines, weights


def test_an_interrupted_run_ends_as_an_uninterrupted_one(resumed, uninterrupted):
    directory, lines, weights = resumed
    assert_same(weights, uninterrupted[0])
    assert checkpoints(directory)[-1] == TASK.recipe.steps
    assert lines[-1] == uninterrupted[1][-1]
    # It says where it goes on, and the other says nothing of the kind.
    assert [line for line in lines if "resum" in line] == [f"resuming at step 13 of 31 from {directory / 'ckpt-13'}"]
    assert not [line for line in uninterrupted[1] if "resum" in line]
    # Validation falls on the same steps with the same bound.
    expected = scalars(uninterrupted[2])["validation/nll_bound"]
    assert list(expected) == [10, 20, 30, 31]
    assert scalars(directory)["validation/nll_bound"] == expected


RUN = """
import json, sys
import numpy as np
from trainer.task import Task
from trainer.training import loop

loop._CALL_SECONDS = 0.02  # many short calls, with a checkpoint after each
arguments = json.loads(sys.argv[1])
task = Task.from_json(arguments.pop("task"))
output = arguments.pop("output")
weights = loop.train(task, report=lambda line: print(line, flush=True), **arguments)
np.savez(output, **weights)
"""


@pytest.mark.slow
def test_a_killed_process_ends_as_an_uninterrupted_one(data, tmp_path):
    """SIGKILL at any moment, also while a checkpoint is written; in a process of its own, with its own TensorFlow."""
    # The steps are too few to be over before the run is killed.
    task = tiny.tiny_task({"steps": 310, "validation_interval": 100, "warmup_steps": 5}, glimpses=3)
    directory, output = tmp_path / "run", tmp_path / "weights.npz"
    arguments = {"task": task.to_json(), "output": str(output), "directory": str(directory), **data}
    process = tiny.python(RUN, json.dumps(arguments))
    while process.poll() is None and not (directory.is_dir() and len(checkpoints(directory)) >= 2):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL and not output.exists(), errors[-4000:]
    kept = checkpoints(directory)
    assert 0 < kept[-1] < task.recipe.steps
    lines = tiny.run_python(RUN, json.dumps(arguments)).splitlines()
    assert any(lines[0].startswith(f"resuming at step {done:,} of 310") for done in kept)
    expected, uninterrupted_lines = train(task, data, tmp_path / "uninterrupted")
    assert_same(dict(np.load(output)), expected)
    assert lines[-1] == uninterrupted_lines[-1]


@pytest.mark.parametrize("damage", ["newest", "checkpoint file", "checkpoint file is away", "both"])
def test_a_run_whose_newest_files_are_damaged_ends_as_an_uninterrupted_one(
    clock, data, tmp_path, caplog, uninterrupted, damage
):
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, 17)
        with pytest.raises(KeyboardInterrupt):
            train(TASK, data, tmp_path / "run")
    older, newest = checkpoints(tmp_path / "run")
    if damage in ("newest", "both"):
        file = tmp_path / "run" / f"ckpt-{newest}.data-00000-of-00001"
        file.write_bytes(file.read_bytes()[:1000])
    if damage in ("checkpoint file", "both"):
        (tmp_path / "run" / "checkpoint").write_text("no protocol buffer")
    if damage == "checkpoint file is away":
        (tmp_path / "run" / "checkpoint").unlink()
    weights, lines = train(TASK, data, tmp_path / "run")
    step = older if damage in ("newest", "both") else newest
    assert lines[0] == f"resuming at step {step} of 31 from {tmp_path}/run/ckpt-{step}"
    # Not TensorFlow's information, which another test may have switched on.
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [f"ckpt-{newest}" in warning for warning in warnings] == [True] * (step == older)
    assert_same(weights, uninterrupted[0])
    assert checkpoints(tmp_path / "run")[-2:] == [30, 31]


@pytest.mark.parametrize("during", ["train", "validate"])
def test_sigterm_saves_a_checkpoint_from_which_it_resumes_to_the_same_bits(data, tmp_path, uninterrupted, during):
    task = dataclasses.replace(TASK, recipe=dataclasses.replace(TASK.recipe, checkpoint_seconds=1e9))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        real = getattr(TRAINER, during)

        def terminated(self, *arguments):
            if 12 <= int(self.state.step) < 31:
                os.kill(os.getpid(), signal.SIGTERM)
            return real(self, *arguments)

        patch.setattr(TRAINER, during, terminated)
        with pytest.raises(SystemExit) as ended:
            train(task, data, tmp_path / "run")
    assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) == before
    (saved,) = checkpoints(tmp_path / "run")
    assert saved > 12
    weights, lines = train(task, data, tmp_path / "run")
    assert lines[0].startswith(f"resuming at step {saved} of 31 from ")
    assert_same(weights, uninterrupted[0])


def test_a_longer_training_continues_a_shorter_one(data, tmp_path, uninterrupted):
    longer = TASK.with_steps(40)
    weights, lines = train(longer, data, tmp_path / "longer", shorter_training=str(uninterrupted[2]))
    assert lines[0].startswith(f"continuing at step 31 of 40 from {uninterrupted[2]}/ckpt-31, the end of a shorter")
    assert any((weights[name] != value).any() for name, value in uninterrupted[0].items())
    assert checkpoints(tmp_path / "longer")[-1] == 40
    # Its own checkpoints come first.
    again, lines = train(longer, data, tmp_path / "longer", shorter_training=str(uninterrupted[2]))
    assert lines[0].startswith("resuming at step 40 of 40")
    assert_same(again, weights)


def test_nothing_is_saved_to_a_folder_that_is_lost(data, tmp_path):
    def lost():
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        train(TASK, data, tmp_path / "run", check_owner=lost)
    assert not checkpoints(tmp_path / "run")


def test_a_finished_run_trains_no_further_and_has_the_same_weights(data, uninterrupted):
    weights, lines, directory, _ = uninterrupted
    before = checkpoints(directory)
    again, more = train(TASK, data, directory)
    assert checkpoints(directory) == before and "resuming at step 31 of 31" in more[0]
    assert more[-1] == lines[-1]
    assert_same(again, weights)


def test_the_exported_weights_are_the_average(uninterrupted):
    weights, _, directory, _ = uninterrupted
    state = step.TrainState(TASK)
    tf.train.Checkpoint(state=state).restore(tf.train.latest_checkpoint(directory)).assert_consumed()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, state.average[name])
        assert not np.array_equal(value, state.parameters[name])


def test_two_checkpoints_are_kept(uninterrupted):
    assert len(checkpoints(uninterrupted[2])) == 2


def test_a_checkpoint_comes_when_its_seconds_are_over_and_after_the_last_step(monkeypatch, clock, data, tmp_path):
    saved = []
    real = loop.checkpoints.Checkpoints.save

    def save(self, step):
        saved.append(step)
        return real(self, step)

    monkeypatch.setattr(loop.checkpoints.Checkpoints, "save", save)
    # Calls of two glimpses, two seconds: after 10 seconds, and 10 more, not after each call from then on.
    task = tiny.tiny_task({"steps": 14, "validation_interval": 50, "checkpoint_seconds": 9.0}, glimpses=2)
    train(task, data, tmp_path / "run")
    assert saved == [5, 10, 14]


@pytest.mark.parametrize(
    ("call_seconds", "expected"),
    [
        (0, [1] * 14),
        (4, [1, 2, 2, 2, 2, 2, 2, 1]),  # as many as fit
        (1e9, [1, 2, 4, 7]),  # at most twice as many as before, and no more than there are
    ],
)
def test_a_call_takes_as_many_steps_as_fit_into_its_seconds(monkeypatch, clock, data, tmp_path, call_seconds, expected):
    monkeypatch.setattr(loop, "_CALL_SECONDS", call_seconds)
    calls, real = [], TRAINER.train
    monkeypatch.setattr(
        TRAINER, "train", lambda self, batches, steps: calls.append(steps) or real(self, batches, steps)
    )
    # Steps of two glimpses, two seconds.
    task = tiny.tiny_task({"steps": 14, "validation_interval": 50, "checkpoint_seconds": 1e9}, glimpses=2)
    train(task, data, tmp_path / "run")
    assert calls == expected


CROPS = dataclasses.replace(TASK.data, crop_margin=(2, 3))
SHORT = {"steps": 14, "checkpoint_seconds": 5.0}
MODES = {
    "crops, binarised at each visit": tiny.tiny_task(
        SHORT, data=CROPS, binarisation=Binarisation.STOCHASTIC_EACH_EPOCH, glimpses=2
    ),
    "bfloat16 products": tiny.tiny_task({**SHORT, "matmul_dtype": "bfloat16", "jit_compile": True}, glimpses=2),
    # Whose gates are wide enough for it.
    "Muon": tiny.tiny_task(
        {**SHORT, "optimizer": "muon", "weight_decay": 0.2, "jit_compile": True}, lstm_units=32, glimpses=2
    ),
    "no attention, in colour": tiny.tiny_task(
        SHORT,
        image_shape=(tiny.ROWS, tiny.COLUMNS, 3),
        binarisation=Binarisation.NONE,
        attention=NoAttention(),
        glimpses=2,
    ),
    "the last weights": tiny.tiny_task({**SHORT, "ema_decay": 0.0}, glimpses=2),
}


@pytest.mark.parametrize(
    "mode", [*list(MODES)[:1], *(pytest.param(m, marks=pytest.mark.slow) for m in list(MODES)[1:])]
)
def test_every_mode_resumes_to_the_same_bits(clock, tmp_path, mode):
    """Interrupted before a random step; a checkpoint comes after each third step."""
    task = MODES[mode]
    data = write_data(tmp_path, task)
    at = random.randint(3, task.recipe.steps - 1)
    expected, _ = train(task, data, tmp_path / "uninterrupted")
    weights, lines = train_in_two(task, data, tmp_path / "run", at)
    assert lines[0].startswith(f"resuming at step {at - at % 3} of {task.recipe.steps}")
    assert_same(weights, expected, f"interrupted at step {at}")


# Fewer glimpses at first

# Phases of 1, 2 and 4 glimpses that begin at steps 0, 3 and 8; no validation falls on a joint.
PHASES = tiny.tiny_task(
    {"steps": 12, "glimpse_schedule": ((0.25, 1), (2 / 3, 2)), "validation_interval": 5, "checkpoint_seconds": 0.0},
    glimpses=4,
)


@pytest.fixture(scope="module")
def phases(data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("phases") / "run"
    return *train(PHASES, data, directory), directory


@pytest.mark.parametrize("at", [2, 3, 6, 8, 10])
def test_a_run_that_is_interrupted_in_any_phase_resumes_to_the_same_bits(clock, data, tmp_path, phases, at):
    weights, lines = train_in_two(PHASES, data, tmp_path / "run", at)
    assert lines[0].startswith(f"resuming at step {at} of 12") and lines[-1] == phases[1][-1]
    assert_same(weights, phases[0], f"interrupted at step {at}")


def test_a_call_ends_where_the_number_of_glimpses_changes(monkeypatch, data, tmp_path, phases):
    """However many steps a call may take."""
    calls = []
    real = TRAINER.train

    def record(self, batches, steps):
        calls.append((int(self.state.step), steps, self.glimpses))
        return real(self, batches, steps)

    monkeypatch.setattr(TRAINER, "train", record)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=iter(np.arange(0, 1, 1e-6)).__next__))
    weights, _ = train(PHASES, data, tmp_path / "run")
    assert calls == [(0, 1, 1), (1, 2, 1), (3, 2, 2), (5, 3, 2), (8, 2, 4), (10, 2, 4)]
    assert_same(weights, phases[0])


def test_the_last_validation_has_the_glimpses_of_the_exported_model(data, tmp_path, phases):
    """Each other one has those of the steps that it follows."""
    by_step = [tag for tag in scalars(phases[2]) if tag.startswith("validation_kl_by_step/")]
    seen = {tag.rpartition("/")[2]: list(scalars(phases[2])[tag]) for tag in by_step}
    assert seen == {"001": [5, 10, 12], "002": [5, 10, 12], "003": [10, 12], "004": [10, 12]}
    # So short a training that the task's own number of glimpses has no step.
    task = tiny.tiny_task({"steps": 2, "warmup_steps": 0, "glimpse_schedule": ((0.9, 1),)}, glimpses=3)
    assert task.glimpse_phases == ((0, 1), (2, 3))
    train(task, data, tmp_path / "run")
    found = scalars(tmp_path / "run")
    assert found["train/glimpses"] == {1: 1.0, 2: 1.0} and list(found["validation_kl_by_step/003"]) == [2]


def test_the_time_that_is_left_follows_from_the_glimpses(monkeypatch, clock, data, tmp_path):
    """Of 3 steps of a glimpse, 5 of two and 4 of four: 29 glimpses of five seconds, with ten examples in a batch."""
    clock.seconds_per_glimpse, clock.seconds_to_compile = 5, 1000
    monkeypatch.setattr(loop, "_REPORT_SECONDS", 0)
    _, lines = train(PHASES, data, tmp_path / "run")
    # Of the first call, which compiles, the time says nothing.
    assert lines[0].startswith("step 1/12") and "examples/s" not in lines[0] and "left" not in lines[0]
    assert [tuple(line.split("  ")[-2:]) for line in lines[1:-1]] == [
        *[("2 examples/s", "2 min left")] * 2,
        *[("1 examples/s", "2 min left")] * 4,
        ("1 examples/s", "80 s left"),
        ("0 examples/s", "60 s left"),
        ("0 examples/s", "40 s left"),
        ("0 examples/s", "20 s left"),
        ("0 examples/s", "0 s left"),
    ]


# What a person sees


def test_tensorboard_holds_what_is_promised(uninterrupted):
    values = scalars(uninterrupted[2])
    training = {
        f"train/{name}"
        for name in (
            "nll_bound", "reconstruction", "kl", "gradient_norm", "learning_rate", "glimpses", "examples_per_second",
        )
    }  # fmt: skip
    validation = {f"validation/{name}" for name in ("nll_bound", "reconstruction", "kl")}
    by_step = {f"validation_kl_by_step/{t:03d}" for t in range(1, TASK.glimpses + 1)}
    assert set(values) == training | validation | by_step | {"samples", "drawings"}
    for tag in training:
        assert list(values[tag]) == list(values["train/nll_bound"]) and max(values[tag]) == TASK.recipe.steps
    for tag in validation | by_step | {"samples", "drawings"}:
        assert list(values[tag]) == [10, 20, 30, 31]
    for moment in (10, 31):
        kl = sum(values[tag][moment] for tag in by_step)
        assert values["validation/kl"][moment] == pytest.approx(kl, rel=1e-5)
        assert values["validation/nll_bound"][moment] == pytest.approx(
            values["validation/reconstruction"][moment] + kl, rel=1e-5
        )
    for moment, bound in values["train/nll_bound"].items():
        assert bound == pytest.approx(values["train/reconstruction"][moment] + values["train/kl"][moment], rel=1e-5)
    assert min(values["train/examples_per_second"].values()) > 0


def test_the_last_line_has_the_step_and_the_bound_of_the_exported_weights(uninterrupted):
    _, lines, directory, _ = uninterrupted
    bound = scalars(directory)["validation/nll_bound"][31]
    assert lines[-1] == f"step 31/31  validation {bound:.2f} nats at 31"


def test_progress_has_steps_nats_and_the_last_validation(monkeypatch, clock, data, tmp_path):
    """A line at most each ten seconds, of calls of two seconds."""
    task = tiny.tiny_task({"steps": 14, "validation_interval": 4, "checkpoint_seconds": 1e9}, glimpses=2)
    _, lines = train(task, data, tmp_path / "run")
    assert [line.split("  ")[0] for line in lines] == ["step 5/14", "step 10/14", "step 14/14"]
    for line, validated in zip(lines[:2], (4, 8), strict=True):
        assert re.search(
            rf"train +\d+\.\d\d nats \(KL \d+\.\d\d\)  validation \d+\.\d\d nats at {validated}  5 exam", line
        )


# What goes wrong


def poison(monkeypatch, after):
    """A step that gives NaN, as an overflow does: in the metrics, and in the weights that it leaves behind."""
    real = TRAINER.train

    def train(self, batches, steps):
        metrics = real(self, batches, steps)
        if int(self.state.step) > after:
            for variable in self.state.parameters.values():
                variable.assign(tf.fill(variable.shape, float("nan")))
            metrics = metrics._replace(means=metrics.means._replace(nll_bound=tf.constant(float("nan"))))
        return metrics

    monkeypatch.setattr(TRAINER, "train", train)


def test_a_bound_that_is_no_number_stops_with_advice_and_leaves_the_older_checkpoint(monkeypatch, data, tmp_path):
    poison(monkeypatch, after=9)
    with pytest.raises(loop.TrainingDiverged, match=r"by step .*: nll_bound nan.*learning_rate.*clip_norm"):
        train(TASK, data, tmp_path / "run")
    latest = tf.train.latest_checkpoint(str(tmp_path / "run"))
    state = step.TrainState(TASK)
    tf.train.Checkpoint(state=state).restore(latest).assert_consumed()
    assert 0 < int(state.step) <= 9
    assert all(np.isfinite(variable.numpy()).all() for variable in state.variables)


def test_a_last_step_that_diverges_exports_nothing(data, tmp_path):
    """The training metrics of a step are those of the weights before it: only the validation sees the last ones."""
    task = tiny.tiny_task(
        {"steps": 1, "learning_rate": 1e30, "warmup_steps": 0, "ema_decay": 0.0, "validation_interval": 5},
        glimpses=2,
    )
    with pytest.raises(loop.TrainingDiverged, match=r"validation_nll_bound.*learning_rate"):
        train(task, data, tmp_path / "run")
    assert not checkpoints(tmp_path / "run")


def test_a_rate_that_is_far_too_high_stops_the_run(data, tmp_path):
    task = tiny.tiny_task({"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 1e6}, glimpses=2)
    with pytest.raises(loop.TrainingDiverged, match="diverged by step"):
        train(task, data, tmp_path / "run")


def test_a_collapsed_posterior_is_warned_of(monkeypatch, caplog, data, tmp_path):
    """The KL is put at 0.4 nats: training until it collapses by itself would take minutes."""
    task = tiny.tiny_task({"steps": 1_010, "warmup_steps": 0, "validation_interval": 2_000}, glimpses=2)
    arrays = step.TrainState(task).arrays() | {"step": np.int64(1_008)}
    np.savez(tmp_path / "state.npz", **arrays)
    monkeypatch.setattr(TRAINER, "validate", lambda self, batches: objective.BoundMetrics(20.0, 19.6, [0.3, 0.1]))
    train(task, data, tmp_path / "run", initial_state=str(tmp_path / "state.npz"))
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
