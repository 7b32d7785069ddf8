"""Attempts of a stage, as Argo counts them: what is tried again, until when, and with which factor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.kubeflow.stage_resources import Retries, Stage
from tests.pipeline.kubeflow.replay import Cluster, RetryPolicy, Task

STAGE = """
import json, pathlib, sys, time
place, words = pathlib.Path(sys.argv[1]), sys.argv[2:]
attempt = len(place.read_text().split()) if place.exists() else 0
place.write_text(" ".join(map(str, range(attempt + 1))))
print("attempt", attempt, flush=True)
deed = words[attempt]
if deed == "fails":
    sys.exit(1)
if deed in ("lost", "long"):
    time.sleep(60)
output = pathlib.Path(json.loads(words[-1])["outputs"]["outputFile"])
output.parent.mkdir(parents=True)
output.write_text("{}")
"""
LOST, FAILS, LONG, ENDS = "lost", "fails", "long", "ends"


def _run(folder: Path, retry_policy: Mapping[str, Any], *deeds: str, hours: float = 0, **options: Any) -> Task:
    """A stage whose attempts do these deeds; it is lost after so many hours on Argo's clock."""
    task = {"componentRef": {"name": "Stage"}, **({"retryPolicy": dict(retry_policy)} if retry_policy else {})}
    command = ["python", "-c", STAGE, str(folder / "attempts"), *deeds, "{{$}}"]
    spec = {
        "pipelineInfo": {"name": "one"},
        "schemaVersion": "2.1.0",
        "defaultPipelineRoot": "minio://bucket/root",
        "root": {"dag": {"tasks": {"Stage": task}}},
        "components": {"Stage": {"executorLabel": "Stage_executor"}},
        "deploymentSpec": {"executors": {"Stage_executor": {"container": {"image": "i", "command": command}}}},
    }
    (folder / "one.yaml").write_text(yaml.safe_dump(spec))
    cluster = Cluster(folder, **options)
    cluster.lost_after_seconds = hours * 3600
    return cluster.run(folder / "one.yaml", kill={"Stage": "attempt 0"} if deeds[0] == LOST else None)["Stage"]


def _policy(**values: Any) -> Mapping[str, Any]:
    return Stage(retries=Retries(**{"count": 2, **values})).retry_policy()


def test_a_training_that_is_lost_after_a_week_is_tried_again(tmp_path: Path) -> None:
    task = _run(tmp_path, _policy(), LOST, ENDS, hours=7 * 24)
    assert (task.state, len(task.attempts)) == ("SUCCEEDED", 2)


def test_it_is_given_up_after_the_hours_that_the_file_says(tmp_path: Path) -> None:
    task = _run(tmp_path, _policy(give_up_after_hours=72), LOST, ENDS, hours=73)
    assert (task.state, len(task.attempts)) == ("FAILED", 1)


def test_an_attempt_that_runs_then_is_killed(tmp_path: Path) -> None:
    task = _run(tmp_path, _policy(give_up_after_hours=1), LOST, LONG, hours=1 - 3 / 3600)
    assert (task.state, len(task.attempts)) == ("FAILED", 2)
    assert task.seconds < 30


def test_kubeflow_tries_nothing_again_where_a_policy_has_no_bound(tmp_path: Path) -> None:
    unbounded = {name: value for name, value in _policy().items() if name != "backoffMaxDuration"}
    assert _run(tmp_path, unbounded, LOST, ENDS).state == "FAILED"


@pytest.mark.parametrize(
    ("policy", "deed", "state"),
    [
        (RetryPolicy.ON_ERROR, LOST, "SUCCEEDED"),
        (RetryPolicy.ON_ERROR, FAILS, "FAILED"),
        (RetryPolicy.ON_FAILURE, LOST, "FAILED"),
        (RetryPolicy.ON_FAILURE, FAILS, "SUCCEEDED"),
    ],
)
def test_what_is_tried_again_depends_on_the_installation(
    tmp_path: Path, policy: RetryPolicy, deed: str, state: str
) -> None:
    assert _run(tmp_path, _policy(), deed, ENDS, policy=policy).state == state


def test_the_template_of_2_17_tries_a_lost_pod_again_by_itself(tmp_path: Path) -> None:
    assert _run(tmp_path, {}, LOST, ENDS).state == "SUCCEEDED"


@pytest.mark.parametrize("factor", [1, 2, 10])
def test_argo_reads_every_factor_that_the_file_takes(tmp_path: Path, factor: int) -> None:
    assert _run(tmp_path, json.loads(json.dumps(_policy(factor=factor))), LOST, ENDS).state == "SUCCEEDED"


def test_argo_reads_no_fraction(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"value '1\.5' cannot be resolved to an int"):
        _run(tmp_path, {**_policy(), "backoffFactor": 1.5}, LOST, ENDS)
