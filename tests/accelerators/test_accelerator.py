"""`python -m benchmarks.accelerator` as who has a GPU would call it, on CPU: timing, training, and the way back."""

import json
import os
import re
import subprocess

import numpy as np
import pytest

from benchmarks import export_step
from components.datasets import composition
from components.datasets.cluttered_mnist import cluttered_mnist_dataset_builder
from components.datasets.digit_source import Digits
from tests import tiny
from tests.accelerators.test_exported_step import JAX_PYTHON, jax_side, pytestmark
from trainer import tasks
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


def test_the_schedule_ends_with_the_seconds(task, files, tmp_path):
    """Of a million steps each call covers as many as it must."""
    task = task.with_steps(1_000_000)
    export_step.write(task, [8], str(tmp_path / "step"), files[0])
    state = tmp_path / "state.npz"
    done = accelerator(tmp_path / "step", "--train", state, "--seconds", 20, "--fit-schedule")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(rf"{re.escape(str(state))}: step [\d,]+, in [\d,]+ steps of 8", last)
    position, steps = (int(number.replace(",", "")) for number in re.findall(r"step ([\d,]+), in ([\d,]+)", last)[0])
    assert 20 < steps < 500_000 < position
    with np.load(state) as arrays:
        assert arrays["step"] == position


def test_clutter_is_that_of_the_data_set(tmp_path):
    rng = np.random.default_rng(0)
    builder = cluttered_mnist_dataset_builder.Builder
    digits = Digits(rng.integers(0, 256, (7, 28, 28), np.uint8), rng.integers(0, 10, 7).astype(np.uint8))
    # JAX's words have 32 bits, of which both take the remainder.
    words = composition.random_words("a stream", range(20), builder.DRAWS) >> np.uint64(32)
    np.savez(tmp_path / "words.npz", digits=digits.images, labels=digits.labels, words=words.astype(np.uint32))
    jax_side("compose", tmp_path / "words.npz", tmp_path / "images.npz")
    expected = builder.compose(digits, words)
    with np.load(tmp_path / "images.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"][..., 0], expected["image"])
        np.testing.assert_array_equal(arrays["labels"], expected["label"])


@pytest.mark.parametrize("init_from", [False, True])
def test_composed_digits_train(tmp_path, init_from):
    task = tasks.get("cluttered_mnist_4").with_steps(4)
    rng = np.random.default_rng(0)
    digits = Digits(rng.integers(0, 256, (7, 28, 28), np.uint8), rng.integers(0, 10, 7).astype(np.uint8))
    folder, state = tmp_path / "step", tmp_path / "state.npz"
    export_step.write(task, [4], str(folder), digits=digits, init_from="cluttered_mnist" if init_from else None)
    done = accelerator(folder, "--train", state, "--steps", 4, "--seconds", 100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{state}: step 4"


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
