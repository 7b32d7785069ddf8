"""`python -m benchmarks.accelerator` as who has a GPU would call it, on CPU: timing, training, and the way back."""

import json
import os
import subprocess

import numpy as np
import pytest

from benchmarks import export_step
from tests import tiny
from tests.accelerators.test_exported_step import JAX_PYTHON, pytestmark
from trainer.training import loop

__all__ = ["pytestmark"]  # for pytest: slow, and only where JAX is

SHORT = {"steps": 12, "warmup_steps": 2}
TASKS = {"generative": tiny.tiny_task(SHORT, glimpses=2), "classifying": tiny.tiny_classifier(SHORT, glimpses=2)}


def accelerator(*arguments):
    return subprocess.run(
        [str(JAX_PYTHON), "-m", "benchmarks.accelerator", *map(str, arguments)],
        cwd=tiny.ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module", params=TASKS)
def task(request):
    return TASKS[request.param]


@pytest.fixture(scope="module")
def files(task, tmp_path_factory):
    return tiny.write_examples(tmp_path_factory.mktemp("examples"), tiny.make_images(task, 40), shards=1)


@pytest.fixture(scope="module")
def folder(task, files, tmp_path_factory):
    directory = tmp_path_factory.mktemp("step")
    export_step.write(task, [4, 8], str(directory), files[0])
    return directory


def test_each_program_is_timed(task, folder, tmp_path):
    done = accelerator(folder, "--seconds", 0.2, "--json", tmp_path / "times.json")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "times.json").read_text())["results"]
    assert [result["batch"] for result in results] == [4, 8]
    for result in results:
        assert 0 < result["ms_least"] <= result["ms"]
        assert result["examples_per_second"] == pytest.approx(result["batch"] / result["ms"] * 1e3)
    assert len([line for line in done.stdout.splitlines() if line.startswith(task.name)]) == 2


def test_training_there_goes_on_there_and_then_here(task, folder, files, tmp_path):
    state = tmp_path / "state.npz"
    for steps in (4, 8):
        done = accelerator(folder, "--train", state, "--batch", 8, "--steps", steps, "--seconds", 100)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"{state}: step {steps}"
    with np.load(state) as arrays:
        assert arrays["step"] == 8 and arrays["step"].dtype == np.int64
    lines = []
    loop.train(
        task,
        train_files=files,
        validation_files=files,
        directory=str(tmp_path / "run"),
        initial_state=str(state),
        report=lines.append,
    )
    assert lines[0] == f"resuming at step 8 of 12 from {state}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("/no/such/folder",), "/no/such/folder holds no program: write one with `python -m benchmarks.export_step"),
        (("FOLDER", "--train", "state.npz", "--batch", 7), "holds programs for [4, 8] rows, none for 7"),
    ],
)
def test_a_mistake_is_a_line(folder, tmp_path, arguments, message):
    done = accelerator(*(folder if argument == "FOLDER" else argument for argument in arguments))
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
