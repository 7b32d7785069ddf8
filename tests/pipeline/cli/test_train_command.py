"""`draw train`: it trains and exports as TFX's Trainer does, and says in a line what it cannot do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from pipeline.cli import train_command
from tests import tiny
from tests.pipeline.draw_command import call, start
from trainer import tasks

TASK = tasks.get("digits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("train")
    images = tiny.make_images(TASK, 130, binary=False)
    tiny.write_examples(root / "fit", images[:110])
    tiny.write_examples(root / "watch", (images[110:] > 127).astype(np.uint8))
    (root / "bad").mkdir()
    (root / "bad" / "data.gz").write_bytes(b"no examples" * 3)
    return root


def _options(output: str, *others: str) -> list[str]:
    given = {"--steps": "3", "--examples": "fit/*", "--validation": "watch/*", "--checkpoints": "state"}
    given |= {"--output": output} | dict(zip(others[::2], others[1::2], strict=True))
    return [word for pair in given.items() for word in pair]


@pytest.mark.slow
def test_a_model_is_trained_and_exported_and_its_state_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)  # With it TensorFlow is shown.
    done = call("draw", "train", *_options("model"), folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    *_, last, model = done.stdout.splitlines()
    assert last.startswith("step 3/3  validation ") and model == "model model"
    signatures = tf.saved_model.load(str(folder / "model")).signatures
    image = signatures["sample"](seed=tf.constant([[3, 4]], tf.int64))["image"]
    assert image.shape == (1, *TASK.image_shape)
    assert not list(folder.glob("*.partial"))
    assert (len(list(folder.glob("state/*/ckpt-3.index"))), len(list(folder.glob("state/*/logs/*")))) == (1, 1)
    # A finished training is exported again, without a step more.
    again = call("draw", "train", *_options("again"), folder=folder)
    assert "resuming at step 3 of 3" in again.stdout and (folder / "again" / "saved_model.pb").exists()
    longer = call("draw", "train", *_options("longer", "--steps", "5"), folder=folder)
    assert longer.stdout.startswith("continuing at step 3 of 5 from ") and "step 5/5" in longer.stdout
    from_model = call("draw", "train", *_options("from_model", "--init-from", "model"), folder=folder)
    assert f"starting from {folder}/model" in from_model.stdout and from_model.returncode == 0


@pytest.mark.slow
def test_sigterm_saves_where_the_same_command_resumes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    options = _options("terminated", "--steps", "100000", "--checkpoints", "long")
    with start("draw", "train", *options, folder=folder) as running:
        assert running.stdout is not None
        while "step " not in (line := running.stdout.readline()):
            assert line, running.stderr
        running.terminate()
        output, errors = running.communicate(timeout=300)
    assert (running.returncode, errors) == (143, "")
    assert re.search(r"SIGTERM: step [\d,]+ of 100,000 is saved; the same run goes on from there\n$", output)
    assert len(list(folder.glob("long/*/ckpt-*.index"))) == 1 and not list(folder.glob("long/*/owner.json"))


@pytest.mark.parametrize(
    ("options", "config", "message"),
    [
        (("--task", "minst"), "", "There is no task 'minst'"),
        (("--examples", "nothing/*"), "", "No file of examples"),
        (("--validation", "nothing/*"), "", "No file of examples"),
        (("--output", "fit"), "", "fit is not empty"),
        (("--output", "/dev/null/model"), "", "/dev/null"),
        (("--init-from", "nothing"), "", "There is nothing at nothing to start from"),
        (("--init-from", "fit"), "", "fit: it holds neither a SavedModel nor checkpoints of a training"),
        (("--examples", "bad"), "", "bad/data.gz cannot be read as examples"),
        ((), "{", "TF_CONFIG: it cannot be read"),
        ((), json.dumps({"cluster": {"worker": ["a:1", "b:1"]}}), "TF_CONFIG: "),
    ],
)
def test_a_mistake_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], config: str, message: str
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TF_CONFIG", config)
    result = CliRunner().invoke(train_command.train, _options("refused", *options))
    assert result.exit_code == 1
    # The other tests' checkpoints may lie there.
    (line,) = [line for line in result.output.splitlines() if not line.startswith("starting anew")]
    assert line.startswith("Error: ") and message in line
    assert not (folder / "refused").exists()
