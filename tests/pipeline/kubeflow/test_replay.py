"""The compiled pipeline, all of its tasks by their own commands, on an emulated Kubeflow Pipelines: six runs."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.kubeflow import compiler
from tests.pipeline.kubeflow.conftest import settings
from tests.pipeline.kubeflow.replay import Cluster, Task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CLUSTER = """
image: registry.example/draw:0.1
volumes: [{claim: draw, path: /mnt/draw}]
default: {retries: {count: 1}}
"""
STEPS = 60
JUDGE, PUSHER, TRAINER = "BoundEvaluator", "Pusher", "Trainer"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runs:
    """In this order, of one package on one cluster, with the volumes that the stages open themselves."""

    package: Path
    cluster: Cluster
    volume: Path
    first: dict[str, Task]
    """Nothing is there yet, and the trainer is killed when it has trained, before it exports."""
    repeated: dict[str, Task]
    """The same parameters."""
    longer: dict[str, Task]
    """One step more."""
    refused: dict[str, Task]
    """As `longer`, by a threshold that no model passes."""
    failed: dict[str, Task]
    """As `refused`, of a package that was compiled with `fail_refused`."""

    def versions(self) -> list[Path]:
        return sorted((self.volume / "serving" / "digits").iterdir())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("cluster")
    package, volume = folder / "draw.yaml", folder / "volume"
    compiler.run(settings(folder, cluster=CLUSTER), package)
    compiler.run(settings(folder, cluster=f"{CLUSTER}fail_refused: true\n"), folder / "fail-refused.yaml")
    (volume / "data").mkdir(parents=True)
    cluster = Cluster(folder)
    cluster.lost_after_seconds = 12 * 3600

    def run(
        steps: int, max_nll_bound: float, kill: dict[str, str] | None = None, package: Path = package
    ) -> dict[str, Task]:
        parameters = {
            "task": "digits",
            "steps": steps,
            "max_nll_bound": max_nll_bound,
            "data_dir": str(volume / "data"),
            "checkpoint_root": str(volume / "checkpoints"),
            "serving_dir": str(volume / "serving" / "{task}"),
        }
        return cluster.run(package, parameters, kill=kill, show=True)

    return Runs(
        package=package,
        cluster=cluster,
        volume=volume,
        # Its last words before the export; the checkpoint is there then.
        first=run(STEPS, 400.0, {TRAINER: f"step {STEPS}/{STEPS}  validation"}),
        repeated=run(STEPS, 400.0),
        longer=run(STEPS + 1, 400.0),
        refused=run(STEPS + 1, 1.0),
        failed=run(STEPS + 1, 1.0, package=folder / "fail-refused.yaml"),
    )


def _states(run: dict[str, Task]) -> dict[str, set[str]]:
    """The names of the tasks by what became of them."""
    return {
        state: {name for name, task in run.items() if task.state == state} for state in {t.state for t in run.values()}
    }


def _property(run: dict[str, Task], task: str, key: str, name: str) -> Any:
    return run[task].outputs[key].properties[name]


def _evaluation(runs: Runs, run: dict[str, Task]) -> dict[str, Any]:
    folder = runs.cluster.path(run[JUDGE].outputs["evaluation"].uri)
    evaluation: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    return evaluation


def test_the_first_run_ends_with_a_blessed_and_pushed_model(runs: Runs) -> None:
    assert set(_states(runs.first)) == {"SUCCEEDED"}, [task.attempts[-1] for task in runs.first.values()]
    assert _property(runs.first, JUDGE, "blessing", "blessed") == 1
    assert runs.first[JUDGE].attempts[0].splitlines()[-1] == "blessing: blessed"
    assert runs.first[PUSHER].attempts[0].splitlines()[-1] == "pushed_model: pushed"
    evaluation = _evaluation(runs, runs.first)
    assert evaluation["baseline"] is None and evaluation["overall"]["count"] == 500
    version = Path(_property(runs.first, PUSHER, "pushed_model", "pushed_destination"))
    assert version == runs.versions()[0]
    assert (version / "saved_model.pb").is_file()
    assert (version / "assets.extra" / "tf_serving_warmup_requests").is_file()


def test_every_artifact_is_in_the_object_store_under_its_address(runs: Runs) -> None:
    for task in runs.first.values():
        for artifact in task.outputs.values():
            assert artifact.uri.startswith("minio://")
            kept = runs.cluster.path(artifact.uri)
            assert kept.is_file() or any(path.is_file() for path in kept.rglob("*"))
    model = runs.first[TRAINER].outputs["model"].uri
    assert _property(runs.first, JUDGE, "blessing", "current_model") == model


def test_a_trainer_that_was_killed_goes_on_from_its_checkpoint(runs: Runs) -> None:
    killed, resumed = runs.first[TRAINER].attempts
    assert "resuming" not in killed
    assert f"resuming at step {STEPS} of {STEPS}" in resumed
    assert list((runs.volume / "checkpoints").iterdir()) == []


def test_the_same_run_again_takes_from_the_cache_what_looks_into_no_folder(runs: Runs) -> None:
    states = _states(runs.repeated)
    assert states["SUCCEEDED"] == {"ParameterCheck", JUDGE, PUSHER, "RunReport"}
    assert states["CACHED"] == set(runs.repeated) - states["SUCCEEDED"]


def test_the_same_run_again_pushes_no_second_version_of_its_model(runs: Runs) -> None:
    assert _property(runs.repeated, PUSHER, "pushed_model", "pushed_destination") == str(runs.versions()[0])


def test_another_training_is_compared_with_what_was_pushed(runs: Runs) -> None:
    assert _states(runs.longer)["SUCCEEDED"] >= {TRAINER, JUDGE, "ServingCheck", PUSHER}
    assert _states(runs.longer)["CACHED"] >= {"ImageExampleGen", "StatisticsGen"}
    evaluation = _evaluation(runs, runs.longer)
    assert evaluation["baseline"] == str(runs.versions()[0])
    assert evaluation["baseline_ignored"] is None
    assert abs(evaluation["overall"]["nll_bound_minus_baseline"]["mean"]) > 0
    assert _property(runs.longer, PUSHER, "pushed_model", "pushed_destination") == str(runs.versions()[1])


def test_a_refused_model_is_not_pushed_and_the_run_succeeds(runs: Runs) -> None:
    assert _states(runs.refused)["SUCCEEDED"] == {"ParameterCheck", JUDGE, PUSHER, "RunReport"}
    assert set(_states(runs.refused)) == {"SUCCEEDED", "CACHED"}
    (judged,), (pushed,) = runs.refused[JUDGE].attempts, runs.refused[PUSHER].attempts
    assert "above the greatest allowed, 1" in judged
    assert judged.splitlines()[-1] == "blessing: not blessed"
    assert pushed.splitlines()[-1] == "pushed_model: not pushed"
    assert _property(runs.refused, PUSHER, "pushed_model", "pushed") == 0
    assert len(runs.versions()) == 2


def test_where_the_file_says_so_the_run_of_a_refused_model_fails_after_its_report(runs: Runs) -> None:
    assert _states(runs.failed)["FAILED"] == {"Verdict"}
    assert _states(runs.failed)["SUCCEEDED"] == {"ParameterCheck", JUDGE, PUSHER, "RunReport"}
    (log,) = runs.failed["Verdict"].attempts
    assert re.fullmatch(
        r"Error: The model was refused: .*, above the greatest allowed, 1 nats.*\.", log.splitlines()[-1]
    )
    assert "Traceback" not in log
    assert _page(runs, runs.failed)


def _page(runs: Runs, run: dict[str, Task]) -> str:
    folder = runs.cluster.path(run["RunReport"].outputs["report"].uri)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_report_names_the_run(runs: Runs) -> None:
    run_id = runs.first["RunReport"].address.split("/")[-2]
    assert f"<title>digits, run {run_id}: report</title>" in _page(runs, runs.first)


def test_a_stages_log_is_what_we_say_in_it(runs: Runs) -> None:
    """TFX's own entry point logs 150 lines."""
    for name, task in runs.first.items():
        lines = task.attempts[-1].splitlines()
        assert len(lines) < (20 if name == TRAINER else 6), (name, lines)


def test_a_model_from_the_cache_is_not_compared_with_itself(runs: Runs) -> None:
    """It is the version that was pushed last."""
    assert _evaluation(runs, runs.refused)["baseline"] == str(runs.versions()[0])


def test_a_run_that_cannot_be_fails_with_one_line_and_makes_nothing(runs: Runs) -> None:
    run = runs.cluster.run(runs.package, {"task": "digit"})
    assert _states(run) == {"FAILED": {"ParameterCheck"}, "OMITTED": set(run) - {"ParameterCheck"}}
    (log,) = run["ParameterCheck"].attempts
    assert log.splitlines()[-1].startswith("Error: ") and "'digit'" in log.splitlines()[-1]
    assert "Traceback" not in log


def test_a_task_file_with_images_on_a_volume_runs_whole(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    photos = volume / "photos"
    photos.mkdir(parents=True)
    for number in range(40):
        pixels = np.random.RandomState(number).randint(0, 256, (20, 30), np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.png")
    (tmp_path / "parts.yaml").write_text(
        f"like: digits\ndata: {{images: {photos}}}\nimage_shape: [12, 14, 1]\nlstm_units: 16\n"
        "recipe: {steps: 5, batch_size: 10}\n"
    )
    package = tmp_path / "parts-package.yaml"
    cluster = f"image: registry.example/draw:0.1\nvolumes: [{{claim: draw, path: {volume}}}]\n"
    folders = {"serving_dir": f"{volume}/serving/{{task}}", "checkpoint_root": f"{volume}/checkpoints"}
    compiler.run(settings(tmp_path, cluster=cluster, task_name=str(tmp_path / "parts.yaml"), **folders), package)
    # What the file says has travelled whole: on a cluster nobody has it.
    (tmp_path / "parts.yaml").unlink()
    run = Cluster(tmp_path).run(package, {}, show=True)
    assert set(_states(run)) == {"SUCCEEDED"}, [task.attempts[-1] for task in run.values()]
    (version,) = (volume / "serving" / "parts").iterdir()
    exported = json.loads((version / "assets" / "task.json").read_text())
    assert (exported["name"], exported["data"]["images"], exported["recipe"]["steps"]) == ("parts", str(photos), 5)
