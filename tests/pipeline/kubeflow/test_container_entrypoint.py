"""The container's entry point with what KFP's launcher gives it, and TFX's own executor runner behind it."""

from __future__ import annotations

import http.server
import json
import logging
import os
import threading
import urllib.parse
from pathlib import Path
from typing import Any

import google.auth.exceptions
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


RUN = "0f2c7f1e-6c3b-4d0e-9d0a-1a2b3c4d5e6f"
SALT = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize("folders", [f"{RUN}/Stage/{SALT}", f"{RUN}/Stage"], ids=["2.17", "2.0"])
def test_a_stage_knows_its_run(
    pod: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folders: str
) -> None:
    monkeypatch.setenv("KFP_RUN_ID", "")
    arguments = _arguments(pod, f"{STAGES}.Talkative", root=f"minio://mlpipeline/{SALT}/draw/{folders}")
    assert container_entrypoint.main(arguments) == 0
    assert f"run {RUN}\n" in capfd.readouterr().out


@pytest.mark.parametrize("level", [None, "0"])
def test_a_log_has_warnings_and_what_we_say_alone(
    pod: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, level: str | None
) -> None:
    """Or one asks for all of it."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    if level is not None:
        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    with caplog.at_level(logging.INFO):
        assert container_entrypoint.main(_arguments(pod, f"{STAGES}.Talkative")) == 0
    messages = [record.getMessage() for record in caplog.records]
    assert (messages == ["a warning"]) is (level is None)
    assert "a warning" in messages


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
    assert container_entrypoint.main(_arguments(pod, f"{STAGES}.Judge", runner, "--flink_master=h:8081")) == 1
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


class Bucket(http.server.ThreadingHTTPServer):
    """Google Cloud Storage's JSON API for one bucket: lists objects by prefix, and deletes them."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        bucket = self
        self.objects = objects

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                (prefix,) = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["prefix"]
                names = sorted(name for name in bucket.objects if name.startswith(prefix))
                items = [{"bucket": "b", "name": name, "size": str(len(bucket.objects[name]))} for name in names]
                self._respond(200, json.dumps({"items": items}))

            def do_DELETE(self) -> None:
                name = urllib.parse.unquote(self.path.partition("/o/")[2].partition("?")[0])
                self._respond(204 if bucket.objects.pop(name, None) is not None else 404, "")

            def _respond(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def download(self, prefix: str, folder: Path) -> None:
        """As the launcher does for the next stage: each object is a file, and what is before a slash a folder."""
        for name in sorted(name for name in self.objects if name.startswith(prefix)):
            path = folder / name  # A slash at the end is gone from it, as from Go's filepath.Join.
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.objects[name])


def test_markers_of_folders_that_workers_elsewhere_have_left_are_removed(
    pod: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """kubeflow/pipelines#13476: the launcher of the next stage takes one for a file."""
    written = {
        "x/blessing/": b"",
        "x/blessing/a/": b"",
        "x/blessing/a/data": b"1",
        "x/blessing/empty": b"",
        "x/b/": b"",
    }
    with Bucket(dict(written)) as bucket:
        threading.Thread(target=bucket.serve_forever, daemon=True).start()
        with pytest.raises(OSError, match=r"Not a directory|File exists"):
            bucket.download("x/blessing/", tmp_path / "before")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{bucket.server_port}")
        arguments = _arguments(pod, f"{STAGES}.Talkative", "--runner=DataflowRunner", root="gs://b/x")
        assert container_entrypoint.main(arguments) == 0
        assert sorted(bucket.objects) == ["x/b/", "x/blessing/a/data", "x/blessing/empty"], "no file, and no neighbour"
        bucket.download("x/blessing/", tmp_path / "after")
        bucket.shutdown()


def test_a_bucket_that_cannot_be_looked_into_does_not_fail_the_stage(
    pod: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise google.auth.exceptions.DefaultCredentialsError("no account")

    monkeypatch.setattr("google.cloud.storage.Client", refuse)
    arguments = _arguments(pod, f"{STAGES}.Talkative", "--runner=DataflowRunner", root="gs://b/x")
    assert container_entrypoint.main(arguments) == 0
    assert "could not be removed below gs://b/x/blessing: no account" in capsys.readouterr().err
