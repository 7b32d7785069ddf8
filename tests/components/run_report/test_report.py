"""The report of a run whose model passed, was refused, or draws no finite pixel."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tensorflow as tf
from tfx import types
from tfx.types import standard_artifacts
from tfx.utils import import_utils

from components import verdict
from components.run_report import data_cards, event_curves
from components.run_report.artifact import RunReport
from components.run_report.sections import reproduction
from tests import tiny
from tests.components.run_report.conftest import (
    CLASS_NAMES,
    COUNTS,
    RECIPE,
    TASKS,
    TinyRun,
    artifact,
    evaluated,
    finished_run,
)
from trainer import tasks
from trainer.task import Binarisation, NoAttention


def _figures(page: str, kind: str) -> list[dict[str, Any]]:
    return [json.loads(spec) for spec in re.findall(rf"data-{kind}='([^']*)'", page)]


def _charts(page: str) -> dict[str, dict[str, Any]]:
    titles = re.findall(r"data-chart='[^']*'>\s*<header>\s*<h3>([^<]*)</h3>", page)
    return dict(zip(titles, _figures(page, "chart"), strict=True))


def test_kubeflow_finds_the_artifacts_type_by_its_name() -> None:
    assert import_utils.import_class_by_path(RunReport.TYPE_NAME) is RunReport


@pytest.mark.parametrize("kind", TASKS)
def test_nothing_is_asked_of_a_network(reports: dict[str, Path], kind: str) -> None:
    page = reports[kind].read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)|url\((?!data:|#)|@import""", page)
    assert len(page) < 500_000


def test_the_verdict_has_the_bound_and_where_the_model_went(runs: dict[str, TinyRun], reports: dict[str, Path]) -> None:
    page = reports["generative"].read_text(encoding="utf-8")
    evaluation = json.loads((runs["generative"].root / "evaluation" / "evaluation.json").read_text())
    assert f"<b>{evaluation['overall']['nll_bound']['mean']:.2f}</b> nats an image" in page
    assert "The gate passed it" in page and "Pushed to /serving/tiny/1790000000" in page
    # The task is called mnist, so the paper's numbers stand beside ours.
    assert "80.97" in page and "Knows the mean image only" in page


def test_the_curves_are_those_that_tensorboard_shows(runs: dict[str, TinyRun], reports: dict[str, Path]) -> None:
    (events,) = (runs["generative"].root / "model_run").glob("**/events.out.tfevents*")
    validated = {
        event.step: float(tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
        if value.tag == "validation/nll_bound"
    }
    bound = _charts(reports["generative"].read_text(encoding="utf-8"))["Bound"]
    (validation,) = (series for series in bound["series"] if series["name"] == "validation")
    assert validation["x"] == sorted(validated) == [4, 8, 12]
    assert validation["y"] == pytest.approx([validated[step] for step in validation["x"]], rel=1e-4)
    assert bound["limit"] == {"name": "the gate's limit", "y": 1000.0}


def test_a_resumed_training_is_one_curve_and_its_pause_costs_no_time(tmp_path: Path) -> None:
    for start, steps in ((1_000.0, (1, 2, 3)), (9_000.0, (3, 4))):
        path = tmp_path / f"events.out.tfevents.{start:.0f}.host"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for place, step in enumerate(steps):
                event = tf.compat.v1.Event(wall_time=start + 10 * place, step=step)
                value = event.summary.value.add(tag="train/kl", tensor=tf.make_tensor_proto(start + step))
                value.metadata.plugin_data.plugin_name = "scalars"
                writer.write(event.SerializeToString())
    path.write_bytes(path.read_bytes() + b"\x01torn")
    curves = event_curves.read(str(tmp_path))
    assert curves.seconds == 20 + 10 and curves.finished == 9_010
    assert curves.by_tag["train/kl"].steps.tolist() == [1, 2, 3, 4]
    assert curves.by_tag["train/kl"].values.tolist() == [1001, 1002, 9003, 9004]


def test_the_players_show_every_step_with_its_windows(reports: dict[str, Path]) -> None:
    drawings, pairs = _figures(reports["generative"].read_text(encoding="utf-8"), "player")
    steps = TASKS["generative"].glimpses
    assert (drawings["steps"], drawings["frames"], len(drawings["windows"])) == (steps, steps, 1)
    assert [len(rows) for rows in drawings["windows"][0]] == [steps] * drawings["count"]
    assert pairs["parts"] == len(pairs["windows"]) == 2 and pairs["width"] == drawings["width"]
    (glimpses,) = _figures(reports["classifier"].read_text(encoding="utf-8"), "player")
    assert (glimpses["frames"], glimpses["steps"]) == (1, TASKS["classifier"].glimpses)


def test_the_confusion_matrix_counts_every_image_of_the_split(reports: dict[str, Path]) -> None:
    page = reports["classifier"].read_text(encoding="utf-8")
    (matrix,) = re.findall(r'<table class="confusion">(.*?)</table>', page, re.DOTALL)
    counts = [int(cell) for cell in re.findall(r"<td[^>]*>(\d+)</td>", matrix)]
    assert sum(counts) == COUNTS["judge"]
    assert tuple(re.findall(r'<th scope="col">([^<]+)</th>', matrix)) == CLASS_NAMES
    assert tuple(re.findall(r'<th scope="row">([^<]+)</th>', matrix)) == CLASS_NAMES


def test_classes_have_their_names(reports: dict[str, Path]) -> None:
    page = reports["classifier"].read_text(encoding="utf-8")
    assert _charts(page)["Error by class"]["names"] == list(CLASS_NAMES[:4])
    (player,) = _figures(page, "player")
    assert all(label.startswith("kind ") for label in player["labels"])


def test_the_hashes_are_those_of_the_files(runs: dict[str, TinyRun], reports: dict[str, Path]) -> None:
    page = reports["generative"].read_text(encoding="utf-8")
    root = runs["generative"].root
    for split in COUNTS:
        files = sorted((root / "examples" / f"Split-{split}").iterdir())
        assert hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest() in page
    weights = (root / "model" / "7" / "Format-Serving" / "variables" / "variables.data-00000-of-00001").read_bytes()
    assert hashlib.sha256(weights).hexdigest() in page


def test_a_training_without_summaries_costs_the_page_its_curves_alone(runs: dict[str, TinyRun]) -> None:
    run = runs["classifier"]
    path, failed = run.report("silent", model_run=artifact(standard_artifacts.ModelRun, run.root / "no_logs"))
    page = path.read_text(encoding="utf-8")
    assert failed == []
    assert "The training has left no summaries." in page


def test_a_refused_model_has_its_whole_report(runs: dict[str, TinyRun]) -> None:
    run = runs["classifier"]
    unservable = artifact(standard_artifacts.InfraBlessing, run.root / "unservable")
    (Path(unservable.uri) / "INFRA_NOT_BLESSED").write_text('no <tensor> & "no answer" within 300 s\n')
    strict = evaluated(
        TASKS["classifier"], run.artifacts["model"], run.artifacts["examples"], run.root / "strict", limit=0.0
    )
    path, failed = run.report(
        "refused",
        evaluation=strict,
        infra_blessing=unservable,
        pushed_model=artifact(standard_artifacts.PushedModel, run.root / "unpushed"),
    )
    page = path.read_text(encoding="utf-8")
    assert failed == []
    assert "The gate refused it, and so did the serving check" in page
    assert (
        "above the greatest allowed, 0%" in page and "No &lt;tensor&gt; &amp; &#34;no answer&#34; within 300 s" in page
    )
    assert "Not pushed; the model is in " in page


def test_a_report_on_kubeflow_is_named_after_its_run(
    runs: dict[str, TinyRun], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There every model's folder is called `model`."""
    run = runs["generative"]
    shutil.copytree(run.artifacts["model"].uri, tmp_path / "model")
    monkeypatch.setenv("KFP_RUN_ID", "0f2c7f1e")
    path, failed = run.report("on-kubeflow", model=artifact(standard_artifacts.Model, tmp_path / "model"))
    page = path.read_text(encoding="utf-8")
    assert failed == [] and "<title>mnist, run 0f2c7f1e: report</title>" in page and "model model" not in page
    assert re.search(r"Kubeflow Pipelines run</t[hd]>\s*<td[^>]*>0f2c7f1e<", page)


def test_a_report_on_one_machine_is_named_after_its_model(reports: dict[str, Path]) -> None:
    page = reports["generative"].read_text(encoding="utf-8")
    assert "<title>mnist, model 7: report</title>" in page and "Kubeflow" not in page


def test_the_verdict_stage_fails_with_the_sentences_of_the_gates(runs: dict[str, TinyRun], tmp_path: Path) -> None:
    run = runs["classifier"]
    report = artifact(RunReport, tmp_path / "report")
    passed = {"evaluation": [run.artifacts["evaluation"]], "infra_blessing": [run.artifacts["infra_blessing"]]}
    verdict.Executor().Do({**passed, "report": [report]}, {}, {})
    strict = evaluated(
        TASKS["classifier"], run.artifacts["model"], run.artifacts["examples"], tmp_path / "strict", limit=0.0
    )
    unservable = artifact(standard_artifacts.InfraBlessing, tmp_path / "unservable")
    (Path(unservable.uri) / "INFRA_NOT_BLESSED").write_text("There was no result within 300 s.\n")
    with pytest.raises(ValueError, match=r"^The model was refused: .*, above the greatest allowed, 0%\.$"):
        verdict.Executor().Do({**passed, "evaluation": [strict], "report": [report]}, {}, {})
    with pytest.raises(ValueError, match=r"allowed, 0%; There was no result within 300 s\.$"):
        verdict.Executor().Do({"evaluation": [strict], "infra_blessing": [unservable], "report": [report]}, {}, {})


def test_a_model_that_is_no_more_than_nan_has_a_report_that_says_so(
    runs: dict[str, TinyRun], broken_model: types.Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    run = dataclasses.replace(runs["generative"], root=Path(broken_model.uri))
    judged = evaluated(
        TASKS["generative"], broken_model, run.artifacts["examples"], run.root / "evaluation", limit=1000.0
    )
    path, failed = run.report(model=broken_model, evaluation=judged)
    page = path.read_text(encoding="utf-8")
    assert failed == ["Drawings", "Reconstructions", "Attention"]
    assert page.count('class="failed" role="note"') == len(failed)
    assert "The report's section Drawings could not be made" in caplog.text
    assert "<b>not finite</b> nats an image" in page and "The gate refused it" in page
    # What does not need the model's answers is there.
    assert "Learning rate" in _charts(page) and "SHA-256" in page


def test_a_section_whose_template_lacks_a_value_fails_alone(runs: dict[str, TinyRun]) -> None:
    run = runs["classifier"]
    evaluation = artifact(standard_artifacts.ModelEvaluation, run.root / "incomplete")
    values = json.loads((run.root / "evaluation" / "evaluation.json").read_text())
    del values["split"]  # the template only prints it
    (run.root / "incomplete" / "evaluation.json").write_text(json.dumps(values))
    path, failed = run.report("lacking", evaluation=evaluation)
    page = path.read_text(encoding="utf-8")
    assert failed == ["Verdict"]
    assert "This section could not be made. &#39;dict object&#39; has no attribute &#39;split&#39;" in page
    assert 'class="confusion"' in page and "SHA-256" in page


def test_colour_without_attention_has_no_windows_and_is_no_compression_cost(tmp_path: Path) -> None:
    task = tiny.tiny_task(
        RECIPE, image_shape=(tiny.ROWS, tiny.COLUMNS, 3), binarisation=Binarisation.NONE, attention=NoAttention()
    )
    path, failed = finished_run(task, tmp_path, limit=1000.0).report()
    page = path.read_text(encoding="utf-8")
    assert failed == []
    assert [player["windows"] for player in _figures(page, "player")] == [[], []]
    assert "This model has no attention" in page
    assert "It is no compression cost" in page and "What it costs" not in page


def test_the_command_is_that_of_the_run() -> None:
    run: Any = SimpleNamespace(
        task=tasks.get("mnist"), evaluation={"max_nll_bound": 90.0}, init_from="weights/state.npz"
    )
    assert reproduction._command(run) == "draw run --task mnist --max-nll-bound 90 --init-from weights/state.npz"


def test_the_command_of_a_local_run_works_wherever_its_reader_stands(
    runs: dict[str, TinyRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the addresses of artifacts begin in the folder of the task's runs."""
    run = runs["classifier"]
    monkeypatch.chdir(run.root)
    model = artifact(standard_artifacts.Model, Path("model", "7"))
    path, failed = run.report("relative", init_from="./initial_weights/1a2b", model=model)
    assert failed == []
    (command,) = re.findall(r"<pre[^>]*>(draw run [^<]*)</pre>", path.read_text(encoding="utf-8"))
    task_file = run.root / "model" / "7" / "Format-Serving" / "assets" / "task.json"
    assert command == f"draw run --task {task_file} --max-error 1 --init-from {run.root}/initial_weights/1a2b"
    assert task_file.is_file()


def test_all_splits_that_are_trained_on_are_shown(reports: dict[str, Path]) -> None:
    page = reports["generative"].read_text(encoding="utf-8")
    rows = re.findall(r'<th scope="row">(fit|more|watch|judge)</th>\s*<td[^>]*>(.*?)</td>\s*<td[^>]*>(\d+)<', page)
    assert rows == [
        ("fit", "trained on", "40"),
        ("more", "trained on", "6"),
        ("watch", "watched while training", "13"),
        ("judge", "gate", "26"),
    ]
    assert "The mean of the images of split 'fit+more'" in page


def test_every_task_says_what_its_data_are() -> None:
    for name in tasks.NAMES:
        assert data_cards.for_data(tasks.get(name).data) is not data_cards.UNKNOWN
