"""`draw run` for real: a few steps on the real digits, with a gate that lets any model pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from ml_metadata.proto import metadata_store_pb2
from PIL import Image

from pipeline.cli.main import main
from tests.pipeline.draw_command import call, closing_line, stage_states

# What a user may see of a run.
SHOWN = (
    r"digits: .* Everything lands in .*/runs/digits",
    r" ?\d+/10 \w+ \.{3,}( +\d+ s| \(cached\)|)",
    r"      (step|resuming at step|warning:) .*",
    r"Nothing has changed: all stages cached\.",
    r"|bound .*|gate .*|model .*|samples .*|report .*",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("draw_run")


_WITNESS = """
import os, socket
def witnessed(function):
    def call(*arguments, **options):
        place = arguments[1] if isinstance(arguments[0], socket.socket) else arguments[0]
        host = place[0] if isinstance(place, tuple) else place
        ours = (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", socket.gethostname())
        if host not in ours and not str(host).startswith("/"):
            with open(os.environ["WITNESS"], "a") as file:
                print(host, file=file)
            raise OSError("no network")
        return function(*arguments, **options)
    return call
for owner, name in ((socket, "getaddrinfo"), (socket.socket, "connect")):
    setattr(owner, name, witnessed(getattr(owner, name)))
"""


@pytest.fixture(scope="module")
def run(root: Path) -> subprocess.CompletedProcess[str]:
    (root / "data").mkdir()
    (root / "witness").mkdir()
    (root / "witness" / "sitecustomize.py").write_text(_WITNESS)
    # The default pipeline root: ./runs
    options = ("--steps", "5", "--data-dir", "data", "--max-nll-bound", "1000")
    path = os.pathsep.join(filter(None, (str(root / "witness"), os.environ.get("PYTHONPATH"))))
    variables = {"PYTHONPATH": path, "WITNESS": str(root / "asked")}
    return call("draw", "run", "--task", "digits", *options, folder=root, variables=variables)


def test_no_other_host_is_asked(run: subprocess.CompletedProcess[str], root: Path) -> None:
    """Newer Beam's DirectRunner would look for a release of Prism, and wait for it without an end."""
    assert run.returncode == 0
    assert not (root / "asked").exists(), (root / "asked").read_text()
    code = "import socket; socket.create_connection(('example.invalid', 80))"
    environment = {**os.environ, "PYTHONPATH": str(root / "witness"), "WITNESS": str(root / "seen")}
    subprocess.run([sys.executable, "-c", code], env=environment, stderr=subprocess.DEVNULL)
    assert (root / "seen").read_text() == "example.invalid\n"


def test_console_shows_stages_training_and_result_alone(run: subprocess.CompletedProcess[str]) -> None:
    assert (run.returncode, run.stderr) == (0, "")
    assert [line for line in run.stdout.splitlines() if not re.fullmatch("|".join(SHOWN), line)] == []
    assert "Nothing has changed" not in run.stdout
    assert "10/10 RunReport" in run.stdout


def test_bound_is_finite_and_has_a_standard_error(run: subprocess.CompletedProcess[str]) -> None:
    match = re.fullmatch(
        r"([\d.]+) nats an image, standard error ([\d.]+), on the 500 examples of split 'test'",
        closing_line(run, "bound"),
    )
    assert match
    # A few steps make it worse than a coin for each pixel, but not without limit.
    assert 0 < float(match[1]) < 1000
    assert 0 < float(match[2]) < 20
    assert closing_line(run, "gate") == "passed: at most 1000 nats"


def test_pushed_model_is_a_version_that_answers(run: subprocess.CompletedProcess[str], root: Path) -> None:
    directory = Path(closing_line(run, "model"))
    assert directory.parent == root / "runs" / "digits" / "serving" / "digits"
    assert directory.name.isdecimal()
    assert list(directory.parent.iterdir()) == [directory]
    # The serving check's copy of the model was pushed, which warms itself up.
    assert (directory / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0
    model = tf.saved_model.load(str(directory))
    image = model.signatures["sample"](seed=tf.constant([[3, 4]], tf.int64))["image"].numpy()
    assert image.shape == (1, 28, 28, 1)
    assert np.isfinite(image).all()


def test_sheet_of_samples_is_a_picture(run: subprocess.CompletedProcess[str]) -> None:
    with Image.open(closing_line(run, "samples")) as sheet:
        assert (sheet.format, sheet.mode, sheet.size) == ("PNG", "L", (12 * 58 + 2, 8 * 58 + 2))


def test_the_runs_page_comes_last(run: subprocess.CompletedProcess[str]) -> None:
    page = Path(closing_line(run, "report"))
    assert run.stdout.splitlines()[-1] == f"report   {page}"
    text = page.read_text(encoding="utf-8")
    assert "The gate passed it" in text
    assert 'class="failed" role="note"' not in text


def test_the_table_has_the_bound_of_the_run(run: subprocess.CompletedProcess[str], root: Path) -> None:
    options = ["--pipeline-root", str(root / "runs"), "-o", str(root / "table.md")]
    reported = CliRunner().invoke(main, ["report", *options])
    assert reported.exit_code == 0
    assert reported.stdout == (root / "table.md").read_text()
    bound, error = re.findall(r"[\d.]+", closing_line(run, "bound"))[:2]
    assert f"| **this model**, the bound | ≤ {bound} | {error} | measured |" in reported.stdout


def test_what_is_left_behind(run: subprocess.CompletedProcess[str], root: Path) -> None:
    folder = root / "runs" / "digits"
    assert stage_states(folder) == [{metadata_store_pb2.Execution.COMPLETE}]
    (log,) = (folder / "logs").iterdir()
    assert "Component Trainer is finished." in log.read_text(encoding="utf-8")
    assert list((folder / "checkpoints").iterdir()) == [], "a finished training leaves no checkpoints"
