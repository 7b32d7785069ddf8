"""`draw run` several times over: refused by the gate, pushed, cached, robbed; and its failures."""

from __future__ import annotations

import dataclasses
import re
import signal
import subprocess
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2

from tests.pipeline.draw_command import call, closing_line, stage_states, start
from tests.pipeline.local.test_draw_run import SHOWN
from trainer import tasks

Execution = metadata_store_pb2.Execution
pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runs:
    """Four runs of the same 20 steps, in this order."""

    root: Path
    refused: subprocess.CompletedProcess[str]
    """At the task's own threshold."""
    pushed: subprocess.CompletedProcess[str]
    """At a threshold that any model passes."""
    repeated: subprocess.CompletedProcess[str]
    """As the one before."""
    robbed: subprocess.CompletedProcess[str]
    """As the one before, while the pushed model was not where it had been pushed to."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("draw_run_again")
    (root / "data").mkdir()

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        return call("draw", "run", "--task", "digits", "--steps", "20", "--data-dir", "data", *options, folder=root)

    refused = run()
    pushed = run("--max-nll-bound", "1000")
    repeated = run("--max-nll-bound", "1000")
    serving_dir = root / "runs" / "digits" / "serving"
    serving_dir.rename(root / "elsewhere")
    robbed = run("--max-nll-bound", "1000")
    (root / "elsewhere").rename(serving_dir)
    return Runs(root=root, refused=refused, pushed=pushed, repeated=repeated, robbed=robbed)


def test_a_model_that_misses_the_gate_is_not_pushed(runs: Runs) -> None:
    assert runs.refused.returncode == 3
    threshold = tasks.get("digits").gate.max_nll_bound
    assert closing_line(runs.refused, "gate").startswith("refused: the bound is ")
    assert f"{threshold:g}" in closing_line(runs.refused, "gate")
    assert closing_line(runs.refused, "model").startswith("not pushed; it is in ")
    assert "The gate refused it" in Path(closing_line(runs.refused, "report")).read_text(encoding="utf-8")


def test_only_the_gates_verdict_is_asked_for_again(runs: Runs) -> None:
    lines = runs.pushed.stdout.splitlines()
    computed = [line.split()[1] for line in lines if re.match(r" ?\d+/10 ", line) and not line.endswith("(cached)")]
    assert computed == ["Baseline", "BoundEvaluator", "Pusher", "RunReport"]
    assert closing_line(runs.refused, "samples") == closing_line(runs.pushed, "samples")


def test_a_second_run_finds_all_in_the_cache_and_says_so(runs: Runs) -> None:
    assert runs.repeated.returncode == 0
    assert "Nothing has changed: all stages cached." in runs.repeated.stdout
    assert "Nothing has changed" not in runs.pushed.stdout
    for what in ("model", "report"):
        assert closing_line(runs.repeated, what) == closing_line(runs.pushed, what)


def test_a_pushed_model_that_was_taken_away_is_missed(runs: Runs) -> None:
    assert runs.robbed.returncode == 1
    pushed = closing_line(runs.pushed, "model")
    assert f"pushed the model to {pushed}, and it is no longer there" in runs.robbed.stderr


def test_metadata_agree(runs: Runs) -> None:
    assert stage_states(runs.root / "runs" / "digits") == [
        {Execution.COMPLETE},
        {Execution.COMPLETE, Execution.CACHED},
        {Execution.CACHED},
        {Execution.CACHED},
    ]


def test_consoles_show_stages_training_and_result_alone(runs: Runs) -> None:
    for finished in (runs.refused, runs.pushed, runs.repeated):
        assert finished.stderr == ""
        assert [line for line in finished.stdout.splitlines() if not re.fullmatch("|".join(SHOWN), line)] == []


def test_the_table_has_an_importance_weighted_row(runs: Runs) -> None:
    reported = call("draw", "report", "--samples", "2", folder=runs.root)
    assert reported.returncode == 0
    bound = float(closing_line(runs.pushed, "bound").split()[0])
    weighted = re.search(r"weighted with 2 samples an image.* \| ≤ ([\d.]+) \|", reported.stdout)
    assert weighted and 0.9 * bound < float(weighted[1]) < bound
    assert call("draw", "report", "--samples", "2", folder=runs.root).stdout == reported.stdout


def test_a_stage_that_fails_says_why_and_where_the_log_is(tmp_path: Path) -> None:
    damaged = tmp_path / "data" / "digits" / "1.0.0"
    damaged.mkdir(parents=True)
    (damaged / "dataset_info.json").write_text("{}", encoding="utf-8")
    finished = call("draw", "run", "--data-dir", "data", folder=tmp_path)
    assert finished.returncode == 1
    failed, reason, log = finished.stderr.splitlines()
    assert failed == "Error: Stage ImageExampleGen failed."
    assert "'digits:1.0.0'" in reason
    assert "Traceback" in Path(log.removeprefix("The full log is ")).read_text(encoding="utf-8")
    assert finished.stdout.endswith(" 1/10 ImageExampleGen ..........\n")


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with start("draw", "run", "--data-dir", "data", folder=tmp_path) as running:
        assert running.stdout is not None
        shown = ""
        while " 1/10 ImageExampleGen" not in shown and (character := running.stdout.read(1)):
            shown += character
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate()
    assert running.returncode == 130
    assert errors.startswith("Interrupted. The same command resumes")
    assert "Traceback" not in errors
