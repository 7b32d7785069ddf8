"""TFX's entry point, called with TFX's own FnArgs: it trains, exports, hands over the logs and tidies up."""

import re

import numpy as np
import pytest
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from serving.saved_model import read_reference
from tests import tiny
from trainer import run_fn
from trainer.task import Task
from trainer.training import input_pipeline, loop, randomness

TASK = tiny.tiny_task({"steps": 8, "warmup_steps": 0, "validation_interval": 5}, glimpses=2)


class Attempt:
    """One attempt of the Trainer component: new output folders each time, a checkpoint root that stays."""

    def __init__(self, root, name, *, task=TASK, files="one"):
        self.checkpoint_root = root / "checkpoints"
        self.model = root / name / "model" / "Format-Serving"
        self.logs = root / name / "model_run"
        for split, count in (("fit", 23), ("watch", 13)):
            directory = root / files / f"Split-{split}"
            if not directory.exists():
                tiny.write_examples(directory, tiny.make_images(TASK, count, seed=len(files)))
        self.arguments = FnArgs(
            train_files=[str(root / files / "Split-fit" / "*")],
            eval_files=[str(root / files / "Split-watch" / "*")],
            serving_model_dir=str(self.model),
            model_run_dir=str(self.logs),
            custom_config={"task": task.to_json(), "checkpoint_root": str(self.checkpoint_root)},
        )

    def begin_at(self, path, sha256):
        self.arguments.custom_config["initial_state"] = {"path": str(path), "sha256": sha256}
        return self

    def run(self):
        run_fn.run_fn(self.arguments)

    def kept(self):
        """The folders below the checkpoint root."""
        return sorted(self.checkpoint_root.iterdir()) if self.checkpoint_root.exists() else []


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    attempt = Attempt(tmp_path_factory.mktemp("finished"), "1")
    attempt.run()
    return attempt


def test_the_model_is_exported_and_answers(finished):
    model = tf.saved_model.load(str(finished.model))
    image = model.signatures["serving_default"](seed=tf.constant([[1, 2]], tf.int64))["image"]
    assert image.shape == (1, *TASK.image_shape)
    assert Task.from_json((finished.model / "assets" / "task.json").read_text(encoding="utf-8")) == TASK


def test_the_model_carries_the_reference_of_the_validation_split(finished):
    reference = read_reference(finished.model)
    (folder,) = finished.arguments.eval_files
    batches = input_pipeline.evaluation_batches(tf.io.gfile.glob(folder), TASK, 100)
    score = tf.saved_model.load(str(finished.model)).signatures["score"]
    bounds = [score(image=x, seed=randomness.seeds_for_ids(ids))["nll_bound"].numpy() for x, ids in batches]
    np.testing.assert_allclose(reference.scores["nll_bound"].quantiles, np.sort(np.concatenate(bounds)), rtol=1e-5)
    assert (reference.count, reference.split, list(reference.by_class)) == (13, "validation", ["3"])


def test_a_model_appears_with_its_reference_or_not_at_all(tmp_path, monkeypatch):
    """Nor is the training lost: its checkpoints stay, and the next attempt only exports."""
    attempt = Attempt(tmp_path, "1")
    with monkeypatch.context() as patch:
        patch.setattr(run_fn, "add_reference", lambda *arguments, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            attempt.run()
    assert not attempt.model.exists() and len(attempt.kept()) == 1
    again = Attempt(tmp_path, "2")
    with monkeypatch.context() as patch:
        patch.setattr(loop.step.Trainer, "train", lambda *arguments: 1 / 0)
        again.run()
    assert read_reference(again.model).count == 13 and again.kept() == []


def test_the_logs_are_handed_over_and_the_checkpoints_deleted(finished):
    events = list(finished.logs.glob("**/events.out.tfevents*"))
    assert len(events) == 1
    tags = {value.tag for event in tf.compat.v1.train.summary_iterator(str(events[0])) for value in event.summary.value}
    assert {"train/nll_bound", "validation/nll_bound"} <= tags
    assert finished.kept() == []


def kill(patch):
    """Ends the attempt in the middle of training, after a checkpoint, as somebody's signal would."""
    real = loop.step.Trainer.train

    def train(self, batches, steps):
        if int(self.state.step) >= 3:
            raise KeyboardInterrupt
        return real(self, batches, steps)

    patch.setattr(loop.step.Trainer, "train", train)


def test_the_next_attempt_goes_on_where_a_killed_one_stood(tmp_path, finished, capsys):
    killed = Attempt(tmp_path, "1")
    with pytest.MonkeyPatch.context() as patch:
        kill(patch)
        with pytest.raises(KeyboardInterrupt):
            killed.run()
    assert len(killed.kept()) == 1 and not killed.model.exists()
    capsys.readouterr()
    second = Attempt(tmp_path, "2")
    # What an export left that was killed in the middle.
    left = second.model.with_name("Format-Serving.partial") / "assets" / "left"
    left.parent.mkdir(parents=True)
    left.touch()
    second.model.mkdir()  # An empty folder is no model.
    second.run()
    assert not left.parents[1].exists()
    assert {path.name for path in (second.model / "assets").iterdir()} == {"task.json", "reference.json"}
    # How many steps a call takes depends on the clock; after the third, and before the validation, it was killed.
    assert re.search(r"resuming at step [345] of 8", capsys.readouterr().out)
    assert second.kept() == []
    models = [tf.saved_model.load(str(attempt.model)) for attempt in (second, finished)]
    seed = tf.constant([[1, 2], [3, 4]], tf.int64)
    images = [model.signatures["sample"](seed=seed)["image"].numpy() for model in models]
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize(
    "change", [{"task": tiny.tiny_task({"steps": 9, "warmup_steps": 0}, glimpses=2)}, {"files": "other"}]
)
def test_another_task_or_other_examples_start_afresh(monkeypatch, tmp_path, change):
    seen = []

    def train(task, *, directory, **others):
        seen.append(directory)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", train)
    for attempt in (Attempt(tmp_path, "1"), Attempt(tmp_path, "2"), Attempt(tmp_path, "3", **change)):
        with pytest.raises(KeyboardInterrupt):
            attempt.run()
    first, second, third = seen
    assert first == second != third


def test_a_run_begins_at_the_state_that_it_is_given_and_keeps_its_checkpoints_apart(monkeypatch, tmp_path):
    seen = []

    def train(task, *, directory, initial_state, **others):
        seen.append((directory, initial_state))
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", train)
    attempts = [Attempt(tmp_path, str(number)) for number in range(4)]
    attempts[1].begin_at("one.npz", "abc")
    attempts[2].begin_at("copy.npz", "abc")
    attempts[3].begin_at("one.npz", "def")
    for attempt in attempts:
        with pytest.raises(KeyboardInterrupt):
            attempt.run()
    directories, states = zip(*seen, strict=True)
    assert states == (None, "one.npz", "copy.npz", "one.npz")
    assert directories[1] == directories[2] and len(set(directories)) == 3


@pytest.mark.parametrize("split", ["fit", "watch"])
def test_patterns_that_match_no_file_are_said_clearly(tmp_path, split):
    attempt = Attempt(tmp_path, "1")
    for path in (tmp_path / "one" / f"Split-{split}").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="No file of examples"):
        attempt.run()
    assert not attempt.model.exists()
