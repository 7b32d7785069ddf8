"""The container's entry point with what KFP's launcher gives it, and TFX's own executor runner behind it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tfx.types import Artifact, standard_artifacts

from pipeline.kubeflow import container_entrypoint

BUCKET = "minio://mlpipeline/root/run"
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
STAGES = "tests.pipeline.kubeflow.stages"


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod's file system, with the inputs as the launcher has downloaded them."""
    monkeypatch.setenv(container_entrypoint.MIRROR_ROOT_VARIABLE, str(tmp_path))
    for variable in THREADS:
        monkeypatch.setenv(variable, "2")
    for key, file in (("model", "bound"), ("examples", "data")):
        folder = tmp_path / "minio" / "mlpipeline" / "root" / "run" / key
        folder.mkdir(parents=True)
        (folder / file).write_text("7")
    return tmp_path


def _type(artifact: type[Artifact]) -> dict[str, str]:
    return {"instanceSchema": f"title: tfx.{artifact.TYPE_NAME}\ntype: object\n"}


def _arguments(
    pod: Path, executor: str = f"{STAGES}.Judge", *more: str, root: str = BUCKET, **parameters: Any
) -> list[str]:
    """As in a compiled task, with the ExecutorInput in its place."""
    inputs = {"model": standard_artifacts.Model, "examples": standard_artifacts.Examples}
    executor_input = {
        "inputs": {
            "parameterValues": {"greatest": 7, "tolerance": 0.5, **parameters},
            "artifacts": {
                key: {
                    "artifacts": [
                        {
                            "name": str(number),
                            "type": {"instanceSchema": ""},
                            "uri": f"{root}/{key}",
                            "metadata": {"display_name": key, "store_session_info": "{}", "split_names": '["test"]'},
                        }
                    ]
                }
                for number, key in enumerate(inputs)
            },
        },
        "outputs": {
            "artifacts": {
                "blessing": {
                    "artifacts": [{"type": _type(standard_artifacts.ModelBlessing), "uri": f"{root}/blessing"}]
                }
            },
            "outputFile": str(pod / "kfp_outputs" / "output_metadata.json"),
        },
    }
    inputs_spec = {
        "artifacts": {key: {"artifactType": _type(kind)} for key, kind in inputs.items()},
        "parameters": {
            "greatest": {"parameterType": "NUMBER_INTEGER"},
            "tolerance": {"parameterType": "NUMBER_DOUBLE"},
            "split": {"parameterType": "STRING"},
            "timeout_seconds": {"parameterType": "NUMBER_INTEGER"},
        },
    }
    return [
        *("--executor_class_path", executor),
        *("--json_serialized_invocation_args", json.dumps(executor_input)),
        *("--json_serialized_inputs_spec_args", json.dumps(inputs_spec)),
        *more,
    ]


def _answer(pod: Path) -> dict[str, Any]:
    folder = pod / "kfp_outputs"
    assert [path.name for path in folder.iterdir()] == ["output_metadata.json"]
    answer: dict[str, Any] = json.loads((folder / "output_metadata.json").read_text())
    return answer


@pytest.mark.parametrize(("bound", "verdict"), [("7", "blessed"), ("8", "not blessed")])
def test_a_gate_answers_the_launcher_and_prints_its_verdict(
    bound: str, verdict: str, pod: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pod / "minio" / "mlpipeline" / "root" / "run" / "model" / "bound").write_text(bound)
    assert container_entrypoint.main(_arguments(pod)) == 0
    (blessing,) = _answer(pod)["artifacts"]["blessing"]["artifacts"]
    assert blessing["uri"] == f"{BUCKET}/blessing"
    assert blessing["metadata"]["blessed"] == (verdict == "blessed")
    assert blessing["metadata"]["current_model"] == f"{BUCKET}/model"
    assert "never_set" not in blessing["metadata"]
    mirror = pod / "minio" / "mlpipeline" / "root" / "run"
    seen = (mirror / "blessing" / "seen").read_text().splitlines()
    assert seen == [str(mirror / key) for key in ("model", "examples", "blessing")]
    assert capsys.readouterr().out.splitlines()[-1] == f"blessing: {verdict}"


def test_the_launcher_never_finds_half_an_output(
    pod: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = Path.write_text

    def fill_the_disk(path: Path, text: str, **options: Any) -> int:
        if pod / "kfp_outputs" not in path.parents:
            return write(path, text, **options)
        write(path, text[: len(text) // 2], **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", fill_the_disk)
    assert container_entrypoint.main(_arguments(pod)) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (pod / "kfp_outputs" / "output_metadata.json").exists()


def test_every_stage_takes_as_many_threads_as_its_limit_grants(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_entrypoint, "cores", lambda: 5)
    for variable in THREADS[:2]:
        monkeypatch.delenv(variable)
    assert container_entrypoint.main(_arguments(pod)) == 0
    assert [os.environ[variable] for variable in THREADS] == ["5", "5", "2"], "what the cluster's file says stays"


def test_a_users_mistake_is_one_line(pod: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = _arguments(pod, "components.serving_check.Executor", split="test", timeout_seconds=0)
    assert container_entrypoint.main(arguments) == 1
    told = capsys.readouterr().err
    assert told.splitlines()[-1] == "Error: timeout_seconds is 0; expected at least 1."
    assert "Traceback" not in told
    assert not (pod / "kfp_outputs").exists()


def test_a_defect_has_its_stack_frames_too(pod: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert container_entrypoint.main(_arguments(pod, f"{STAGES}.Defective")) == 1
    told = capsys.readouterr().err
    assert "stages.py" in told and told.splitlines()[-1] == "Error: KeyError: 'image'"
    assert not (pod / "kfp_outputs").exists()


def test_an_argument_that_the_launcher_did_not_fill_in_is_named(pod: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = _arguments(pod)
    arguments[3] = "{{$}}"
    assert container_entrypoint.main(arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith("Error: An argument is no JSON: '{{$}}'.") and told.count("\n") == 1


@pytest.mark.parametrize("runner", ["--runner=FlinkRunner", "--runner=DataflowRunner"])
def test_workers_elsewhere_need_addresses_that_they_can_open(
    runner: str, pod: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert container_entrypoint.main(_arguments(pod, f"{STAGES}.Judge", runner)) == 1
    name = runner.partition("=")[2]
    assert f"Error: {name}'s workers see neither this pod's files nor {BUCKET}/" in capsys.readouterr().err


def test_workers_elsewhere_are_given_addresses_of_google_cloud(pod: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = _arguments(pod, f"{STAGES}.Judge", "--runner=DataflowRunner", root="gs://bucket")
    assert container_entrypoint.main(arguments) == 1
    # Which this executor, which knows no object store, does not find.
    assert "No such file or directory: 'gs:/bucket/model/bound'" in capsys.readouterr().err


def test_workers_in_the_pod_use_its_files(pod: Path) -> None:
    arguments = _arguments(pod, f"{STAGES}.Judge", "--runner=PortableRunner", "--environment_type=LOOPBACK")
    assert container_entrypoint.main(arguments) == 0
