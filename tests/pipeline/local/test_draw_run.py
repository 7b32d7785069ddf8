"""`draw run` for real: 20 steps on the real digits, refused by the gate, then pushed, then cached; and its failures."""

from __future__ import annotations

import dataclasses
import math
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2
from PIL import Image
from tfx.orchestration import metadata

from tests.pipeline.draw_command import call, start
from trainer import tasks

Execution = metadata_store_pb2.Execution


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

    @property
    def folder(self) -> Path:
        return self.root / "runs" / "digits"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("draw_run")
    (root / "data").mkdir()

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        # The default pipeline root: ./runs
        return call("draw", "run", "--task", "digits", "--steps", "20", "--data-dir", "data", *options, folder=root)

    refused = run()
    pushed = run("--max-nll-bound", "1000")
    repeated = run("--max-nll-bound", "1000")
    serving_dir = root / "runs" / "digits" / "serving"
    serving_dir.rename(root / "elsewhere")
    robbed = run("--max-nll-bound", "1000")
    (root / "elsewhere").rename(serving_dir)
    return Runs(root=root, refused=refused, pushed=pushed, repeated=repeated, robbed=robbed)


def _said(finished: subprocess.CompletedProcess[str], what: str) -> str:
    """What the closing lines say of `what`."""
    (line,) = re.findall(rf"^{what} +(.*)$", finished.stdout, re.MULTILINE)
    return str(line)


def _states(folder: Path) -> list[set[int]]:
    """The states of the stages, run by run, but for the baseline, which is looked up every time."""
    store = MetadataStore(metadata.sqlite_metadata_connection_config(str(folder / "metadata.db")))
    runs = sorted(store.get_contexts_by_type("pipeline_run"), key=lambda run: run.id)
    resolver = store.get_execution_type("tfx.dsl.components.common.resolver.Resolver").id
    return [
        {
            execution.last_known_state
            for execution in store.get_executions_by_context(run.id)
            if execution.type_id != resolver
        }
        for run in runs
    ]


def test_a_model_that_misses_the_gate_is_not_pushed(runs: Runs) -> None:
    assert runs.refused.returncode == 3
    threshold = tasks.get("digits").gate.max_nll_bound
    assert _said(runs.refused, "gate").startswith("refused: the bound is ")
    assert f"{threshold:g}" in _said(runs.refused, "gate")
    assert _said(runs.refused, "model").startswith("not pushed; it is in ")


def test_only_the_gates_verdict_is_asked_for_again(runs: Runs) -> None:
    lines = runs.pushed.stdout.splitlines()
    computed = [line.split()[1] for line in lines if re.match(r" ?\d+/10 ", line) and not line.endswith("(cached)")]
    assert computed == ["Baseline", "BoundEvaluator", "Pusher", "RunReport"]


def test_bound_is_finite_and_has_a_standard_error(runs: Runs) -> None:
    match = re.fullmatch(
        r"([\d.]+) nats an image, standard error ([\d.]+), on the 500 examples of split 'test'",
        _said(runs.pushed, "bound"),
    )
    assert match
    assert 0 < float(match[1]) < 28 * 28 * math.log(2)
    assert 0 < float(match[2]) < 10


def test_the_report_has_the_bound_of_the_run(runs: Runs) -> None:
    reported = call("draw", "report", "--samples", "2", "-o", "table.md", folder=runs.root)
    assert reported.returncode == 0
    assert reported.stdout == (runs.root / "table.md").read_text()
    bound, error = re.findall(r"[\d.]+", _said(runs.pushed, "bound"))[:2]
    assert f"| **this model**, the bound | ≤ {bound} | {error} | measured |" in reported.stdout
    weighted = re.search(r"weighted with 2 samples an image.* \| ≤ ([\d.]+) \|", reported.stdout)
    assert weighted and 0.9 * float(bound) < float(weighted[1]) < float(bound)


def test_pushed_model_is_a_version_that_answers(runs: Runs) -> None:
    assert runs.pushed.returncode == 0
    assert _said(runs.pushed, "gate") == "passed: at most 1000 nats"
    directory = Path(_said(runs.pushed, "model"))
    assert directory.parent == runs.folder / "serving" / "digits"
    assert directory.name.isdecimal()
    assert list(directory.parent.iterdir()) == [directory]
    # The serving check's copy of the model was pushed, which warms itself up.
    assert (directory / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0
    model = tf.saved_model.load(str(directory))
    image = model.signatures["sample"](seed=tf.constant([[3, 4]], tf.int64))["image"].numpy()
    assert image.shape == (1, 28, 28, 1)
    assert np.isfinite(image).all()


def test_sheet_of_samples_is_a_picture(runs: Runs) -> None:
    with Image.open(_said(runs.pushed, "samples")) as sheet:
        assert (sheet.format, sheet.mode, sheet.size) == ("PNG", "L", (12 * 58 + 2, 8 * 58 + 2))
    assert _said(runs.refused, "samples") == _said(runs.pushed, "samples")


def test_every_run_has_its_report_and_names_it_last(runs: Runs) -> None:
    refused, pushed = Path(_said(runs.refused, "report")), Path(_said(runs.pushed, "report"))
    assert runs.pushed.stdout.splitlines()[-1] == f"report   {pushed}"
    assert "The gate refused it" in refused.read_text(encoding="utf-8")
    assert "The gate passed it" in pushed.read_text(encoding="utf-8")
    assert 'class="failed" role="note"' not in refused.read_text(encoding="utf-8") + pushed.read_text(encoding="utf-8")
    assert _said(runs.repeated, "report") == str(pushed)


def test_a_second_run_finds_all_in_the_cache_and_says_so(runs: Runs) -> None:
    assert runs.repeated.returncode == 0
    assert "Nothing has changed: all stages cached." in runs.repeated.stdout
    assert "Nothing has changed" not in runs.pushed.stdout
    assert _said(runs.repeated, "model") == _said(runs.pushed, "model")


def test_a_pushed_model_that_was_taken_away_is_missed(runs: Runs) -> None:
    assert runs.robbed.returncode == 1
    assert f"pushed the model to {_said(runs.pushed, 'model')}, and it is no longer there" in runs.robbed.stderr


def test_metadata_agree(runs: Runs) -> None:
    assert _states(runs.folder) == [
        {Execution.COMPLETE},
        {Execution.COMPLETE, Execution.CACHED},
        {Execution.CACHED},
        {Execution.CACHED},
    ]


def test_console_shows_stages_training_and_result_alone(runs: Runs) -> None:
    shown = (
        r"digits: .* Everything lands in .*/runs/digits",
        r" ?\d+/10 \w+ \.{3,}( +\d+ s| \(cached\)|)",
        r"      (step|resuming at step|warning:) .*",
        r"Nothing has changed: all stages cached\.",
        r"|bound .*|gate .*|model .*|samples .*|report .*",
    )
    for finished in (runs.refused, runs.pushed, runs.repeated):
        assert finished.stderr == ""
        unexpected = [line for line in finished.stdout.splitlines() if not re.fullmatch("|".join(shown), line)]
        assert unexpected == []


def test_log_holds_the_rest(runs: Runs) -> None:
    logs = sorted((runs.folder / "logs").iterdir())
    assert logs
    assert "Component Trainer is finished." in logs[0].read_text(encoding="utf-8")


def test_a_finished_training_leaves_no_checkpoints(runs: Runs) -> None:
    assert list((runs.folder / "checkpoints").iterdir()) == []


def test_a_stage_that_fails_says_why_and_where_the_log_is(tmp_path: Path) -> None:
    damaged = tmp_path / "data" / "digits" / "1.0.0"
    damaged.mkdir(parents=True)
    (damaged / "dataset_info.json").write_text("{}", encoding="utf-8")
    finished = call("draw", "run", "--data-dir", "data", folder=tmp_path)
    assert finished.returncode == 1
    failed, reason, log = finished.stderr.splitlines()
    assert failed == "Error: Stage TfdsExampleGen failed."
    assert "'digits:1.0.0'" in reason
    assert "Traceback" in Path(log.removeprefix("The full log is ")).read_text(encoding="utf-8")
    assert finished.stdout.endswith(" 2/10 TfdsExampleGen ...........\n")


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with start("draw", "run", "--data-dir", "data", folder=tmp_path) as running:
        assert running.stdout is not None
        shown = ""
        while " 2/10 TfdsExampleGen" not in shown and (character := running.stdout.read(1)):
            shown += character
        running.send_signal(signal.SIGINT)
        _, told = running.communicate()
    assert running.returncode == 130
    assert told.startswith("Interrupted. The same command resumes")
    assert "Traceback" not in told
