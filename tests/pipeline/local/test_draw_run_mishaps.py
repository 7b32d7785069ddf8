"""`draw run` after its folder was moved, its files were damaged, or it was terminated; and twice at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pipeline.draw_command import call, closing_line, start

pytestmark = pytest.mark.slow
OPTIONS = ("run", "--task", "digits", "--data-dir", "data", "--max-nll-bound", "1000")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run in `moved {task}`, in which it did not run."""
    root = tmp_path_factory.mktemp("mishaps")
    (root / "data").mkdir()
    assert call("draw", *OPTIONS, "--steps", "5", "--pipeline-root", "runs", folder=root).returncode == 0
    (root / "runs").rename(root / "moved {task}")
    return root


def test_a_moved_root_comes_whole_from_the_cache_wherever_the_data_set_is(root: Path) -> None:
    (root / "data").rename(root / "elsewhere")
    options = (*OPTIONS, "--data-dir", "elsewhere", "--steps", "5", "--pipeline-root", "moved {task}")
    again = call("draw", *options, folder=root)
    (root / "elsewhere").rename(root / "data")
    assert again.returncode == 0 and "Nothing has changed: all stages cached." in again.stdout, again.stdout
    for name in ("model", "samples", "report"):
        path = Path(closing_line(again, name))
        assert path.exists() and path.is_relative_to(root / "moved {task}" / "digits")
    reported = call("draw", "report", "--pipeline-root", "moved {task}", folder=root)
    assert reported.returncode == 0 and "| **this model**, the bound |" in reported.stdout
    assert {path.name for path in root.iterdir()} == {"data", "moved {task}"}


def test_damaged_examples_are_named_with_what_to_remove_and_then_made_anew(root: Path) -> None:
    options = (*OPTIONS, "--steps", "6", "--pipeline-root", "moved {task}")
    folder = root / "moved {task}" / "digits" / "ImageExampleGen" / "examples"
    (examples,) = folder.iterdir()
    (file,) = (examples / "Split-train").iterdir()
    file.write_bytes(file.read_bytes()[:1000])
    failed = call("draw", *options, folder=root)
    assert failed.returncode == 1
    stage, reason, hint, _ = failed.stderr.splitlines()
    assert stage == "Error: Stage Trainer failed." and f"{file} cannot be read as examples" in reason
    assert hint.startswith(f"{file} is damaged") and f"Remove the folder {examples} and run again" in hint
    for path in sorted(examples.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    examples.rmdir()
    assert call("draw", *options, folder=root).returncode == 0


def test_of_two_at_once_one_runs_and_sigterm_saves_its_training(root: Path) -> None:
    options = (*OPTIONS, "--steps", "100000", "--pipeline-root", "moved {task}")
    checkpoints = root / "moved {task}" / "digits" / "checkpoints"
    with start("draw", *options, folder=root) as running:
        assert running.stdout is not None
        while "step " not in (line := running.stdout.readline()):
            assert line, running.stderr
        second = call("draw", *options, folder=root)
        assert second.returncode == 1
        assert re.search(rf"digits is in use: draw run, process {running.pid} on .*, since ", second.stderr)
        running.terminate()
        output, errors = running.communicate(timeout=300)
    assert (running.returncode, errors) == (143, "")
    assert re.search(r"SIGTERM: step [\d,]+ of 100,000 is saved; the same run goes on from there\n$", output)
    (saved,) = checkpoints.glob("*/ckpt-*.index")
    assert int(saved.stem.removeprefix("ckpt-")) > 0
