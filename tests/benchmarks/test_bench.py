"""`make bench` from end to end on the smallest task: what it writes hangs together. No figure of it is judged here."""

import contextlib
import json
import subprocess
import sys

import pytest

from benchmarks import bench
from tests import tiny
from trainer import tasks


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench", *map(str, arguments)],
        cwd=tiny.ROOT,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def worktrees():
    """The folders alone: a commit elsewhere meanwhile changes the rest of git's list."""
    listed = subprocess.run(
        ["git", "worktree", "list", "--porcelain"], cwd=tiny.ROOT, capture_output=True, text=True, check=True
    ).stdout
    return {line for line in listed.splitlines() if line.startswith("worktree ")}


@pytest.mark.slow
def test_a_task_is_measured_beside_its_plain_version(tmp_path):
    shown = run("digits", "--seconds", 2, "--output", tmp_path / "bench.json")
    (result,) = json.loads((tmp_path / "bench.json").read_text())["results"]
    assert result["task"] == "digits" and "digits" in shown.splitlines()[2]
    assert result["step_ms"]["least"] <= result["step_ms"]["median"] and result["step_ms"]["count"] >= 5
    rate = tasks.get("digits").recipe.batch_size / result["step_ms"]["median"] * 1e3
    assert result["examples_per_second"] == pytest.approx(rate)
    # Matrix products are part of a step, so it cannot do more of them than the machine.
    assert 0 < result["gflops"] < result["matmul_gflops"]
    assert 0 <= result["wait_percent"] < 100
    assert set(result["sample_ms"]) == {"1", "16", "256"}
    assert result["bfloat16_step_ms"]["count"] == result["step_ms"]["count"]


@pytest.mark.slow
@pytest.mark.skipif(not (tiny.ROOT / ".git").exists(), reason="this is no checkout of git: there are no revisions")
def test_a_revision_is_measured_beside_this_one(tmp_path):
    before = worktrees()
    shown = run("digits", "--seconds", 2, "--against", "HEAD", "--output", tmp_path / "bench.json")
    report = json.loads((tmp_path / "bench.json").read_text())
    assert report["against"] == "HEAD" and "times faster than: HEAD" in shown
    # Its checkout is gone again.
    assert worktrees() == before


@pytest.mark.slow
def test_the_input_of_a_task_that_crops_is_measured():
    with contextlib.closing(bench.Side("svhn", "trained", code=tiny.ROOT)) as side:
        assert 0 <= side.ask("input", 1)["wait_percent"] < 100


def test_a_step_multiplies_what_the_layers_hold():
    """T = 64, batch 100: encoder 520 x 1024, latent 256 x 200, decoder 356 x 1024, write 256 x 30, window 256 x 5."""
    weights = 520 * 1024 + 256 * 200 + 356 * 1024 + 256 * 30 + 256 * 5
    assert bench.step_gflop(bench.comparable(tasks.get("mnist"))) == pytest.approx(3 * 2 * weights * 64 * 100 / 1e9)
