"""The closing lines of `draw run` for results that no quick training gives."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import run_command
from pipeline.local import runner
from pipeline.local.outcome import RunOutcome
from trainer import folder_lock

PUSHED = RunOutcome(
    all_cached=False,
    model_dir=Path("/runs/digits/Trainer/model/5/Format-Serving"),
    examples_dir=Path("/runs/digits/ImageExampleGen/examples/1"),
    model_number="5",
    evaluation={
        "split": "test",
        "max_nll_bound": 112.0,
        "reasons": [],
        "overall": {"count": 10_000, "nll_bound": {"mean": 108.254, "standard_error": 0.519}},
    },
    blessed=True,
    unservable=None,
    pushed_dir=Path("/runs/digits/serving/digits/17"),
    report=Path("/runs/digits/RunReport/report/12/report.html"),
)


def _draw_run(root: Path, outcome: RunOutcome | None, monkeypatch: pytest.MonkeyPatch) -> tuple[int, list[str]]:
    """The exit status and the closing lines of a run that came to `outcome`."""
    monkeypatch.setattr(runner, "run", lambda settings, beam_arguments: outcome)
    result = CliRunner().invoke(run_command.run, ["--pipeline-root", str(root)])
    return result.exit_code, result.output.splitlines()[1:]


def test_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _draw_run(tmp_path, PUSHED, monkeypatch) == (
        0,
        [
            "",
            "bound    108.25 nats an image, standard error 0.52, on the 10,000 examples of split 'test'",
            "gate     passed: at most 112 nats",
            "model    /runs/digits/serving/digits/17",
            f"samples  {tmp_path}/digits/samples/model-5.png",
            "report   /runs/digits/RunReport/report/12/report.html",
        ],
    )


def test_without_a_threshold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = {**PUSHED.evaluation, "max_nll_bound": None}
    _, lines = _draw_run(tmp_path, dataclasses.replace(PUSHED, evaluation=evaluation), monkeypatch)
    assert lines[2] == "gate     passed: finite, and not worse than the last model; the task names no threshold"


def test_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = {
        "split": "test",
        "max_error": 0.06,
        "reasons": [],
        "overall": {"count": 10_000, "error": {"mean": 0.0342, "interval_95": [0.0308, 0.0379]}},
    }
    _, lines = _draw_run(tmp_path, dataclasses.replace(PUSHED, evaluation=evaluation), monkeypatch)
    assert lines[1:3] == [
        "error    3.42%, 95% interval 3.08% to 3.79%, on the 10,000 examples of split 'test'",
        "gate     passed: at most 6%",
    ]


def test_unservable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = dataclasses.replace(PUSHED, unservable="No result within 300 s.", pushed_dir=None)
    status, lines = _draw_run(tmp_path, outcome, monkeypatch)
    assert status == 3
    assert lines[2:5] == [
        "gate     passed: at most 112 nats",
        "serving  refused: No result within 300 s.",
        "model    not pushed; it is in /runs/digits/Trainer/model/5/Format-Serving, whose weights --init-from trains "
        "further",
    ]


def test_not_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = ["nll_bound is not finite for 3 of 10000 examples", "another reason"]
    evaluation = {
        **PUSHED.evaluation,
        "reasons": reasons,
        "overall": {"count": 10_000, "nll_bound": {"mean": None, "standard_error": None}},
    }
    outcome = dataclasses.replace(PUSHED, evaluation=evaluation, blessed=False, pushed_dir=None)
    status, lines = _draw_run(tmp_path, outcome, monkeypatch)
    assert status == 3
    assert lines[1].startswith("bound    not finite nats an image, standard error not finite")
    assert lines[2] == f"gate     refused: {'; '.join(reasons)}"


def test_nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when `tfx pipeline create` loads the runner."""
    assert _draw_run(tmp_path, None, monkeypatch) == (0, [])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker"}}', "`draw train`"),
        ("{", "TF_CONFIG: it cannot be read"),
    ],
)
def test_a_cluster_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, words: str
) -> None:
    monkeypatch.setattr(runner, "run", pytest.fail)
    monkeypatch.setenv("TF_CONFIG", config)
    result = CliRunner().invoke(run_command.run, ["--pipeline-root", str(tmp_path)])
    (line,) = result.output.splitlines()
    assert result.exit_code == 1 and line.startswith("Error: ") and words in line


def test_a_folder_that_another_run_uses_is_refused_with_its_owner(tmp_path: Path) -> None:
    with folder_lock.hold(str(tmp_path / "digits"), "draw run"):
        result = CliRunner().invoke(run_command.run, ["--pipeline-root", str(tmp_path)])
    assert result.exit_code == 1
    assert f"Error: {tmp_path}/digits is in use: draw run, process {os.getpid()} on " in result.output
    assert not (tmp_path / "digits" / "logs").exists()


def test_beams_options_come_after_two_dashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, ...]] = []
    monkeypatch.setattr(runner, "run", lambda settings, beam_arguments: given.append(beam_arguments))
    words = ["--pipeline-root", str(tmp_path), "--", "--direct_num_workers=2", "--runner=DirectRunner"]
    result = CliRunner().invoke(run_command.run, words)
    assert (result.exit_code, given) == (0, [("--direct_num_workers=2", "--runner=DirectRunner")])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--direct_num_worker=2", "Beam has no option '--direct_num_worker'. Did you mean --direct_num_workers?"),
        ("--runner=DataflowRunner", "DataflowRunner would start Beam's own container"),
        ("--runner=FlinkRunner", None),
    ],
)
def test_beams_options_are_checked_before_anything_starts(
    argument: str, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "run", lambda settings, beam_arguments: None)
    result = CliRunner().invoke(run_command.run, ["--pipeline-root", str(tmp_path), "--", argument])
    assert result.exit_code == (0 if message is None else 1)
    assert message is None or result.output.startswith(f"Error: {message}")
    assert message is None or list(tmp_path.iterdir()) == []
    elsewhere = ("--runner=FlinkRunner", "--environment_type=EXTERNAL", "--environment_config=localhost:50000")
    result = CliRunner().invoke(run_command.run, ["--", *elsewhere])
    assert "FlinkRunner's workers would look for the run's files elsewhere" in result.output
