"""TFX's own commands, with --engine=kubeflow, against an API on a socket; in one process, for TFX is slow to import."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import draw_tfx_startup
from pipeline import kubeflow_runner
from pipeline.kubeflow import pipeline_spec
from tests.pipeline.kubeflow.fake_api import FakeApi, serving

PLAIN = Path(__file__).with_name("plain_pipeline.py")
Tfx = Callable[..., Result]


@pytest.fixture(scope="module")
def _served() -> None:
    """Where our package is installed, its .pth has done this."""
    draw_tfx_startup.install()


@pytest.fixture
def tfx(_served: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tfx:
    from tfx.tools.cli import cli_main

    # Every call of the command asks `pip freeze` whether kfp is there, which takes a second; test_startup lets it.
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text("#!/bin/sh\necho kfp==2\n")
    pip.chmod(0o755)
    monkeypatch.setenv("PATH", str(pip.parent), prepend=":")
    # Where kfp keeps a namespace and a cookie.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, endpoint: str | None = None) -> Result:
        where = [] if endpoint is None else [f"--endpoint={endpoint}"]
        result = CliRunner().invoke(cli_main.cli_group, [*arguments, "--engine=kubeflow", *where])
        print(result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit), "no trace"
        return result

    return call


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving(FakeApi()) as fake:
        yield fake


def refused(result: Result) -> str:
    """The one line of a command that fails."""
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    return line.removeprefix("Error: ")


def create(tfx: Tfx, api: FakeApi, *options: str) -> Result:
    return tfx("pipeline", "create", f"--pipeline_path={PLAIN}", *options, endpoint=api.url)


def run(tfx: Tfx, api: FakeApi, *parameters: str) -> Result:
    options = [f"--runtime_parameter={parameter}" for parameter in parameters]
    return tfx("run", "create", "--pipeline_name=plain", *options, endpoint=api.url)


def test_compile_writes_a_package_and_asks_no_server(tfx: Tfx, tmp_path: Path) -> None:
    result = tfx("pipeline", "compile", f"--pipeline_path={PLAIN}")
    assert result.exit_code == 0
    # The runner's own default is pipeline.json, which Kubeflow Pipelines would not accept.
    assert f"Pipeline package path: {tmp_path / 'pipeline.yaml'}" in result.stdout
    (spec,) = pipeline_spec.read(tmp_path / "pipeline.yaml")
    assert spec["defaultPipelineRoot"] == "gs://bucket/root"
    assert pipeline_spec.parameters(spec) == {
        "steps": {"parameterType": "NUMBER_INTEGER", "defaultValue": 100, "isOptional": True},
        "rate": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.5, "isOptional": True},
        "name": {"parameterType": "STRING"},
    }


def test_a_pipeline_lives_from_create_to_delete(tfx: Tfx, api: FakeApi, tmp_path: Path) -> None:
    assert "No pipelines to display." in tfx("pipeline", "list", endpoint=api.url).stdout

    result = create(tfx, api)
    assert result.exit_code == 0 and 'Pipeline "plain" created successfully.' in result.stdout
    assert refused(create(tfx, api)) == 'Pipeline "plain" already exists. Use tfx pipeline update.'

    updated = tfx("pipeline", "update", f"--pipeline_path={PLAIN}", endpoint=api.url)
    assert updated.exit_code == 0 and 'Pipeline "plain" updated successfully.' in updated.stdout
    assert [row["display_name"] for row in api.rows("pipelines")] == ["plain"]
    assert len(api.rows("pipeline_versions")) == 2

    listed = tfx("pipeline", "list", endpoint=api.url).stdout
    assert "| plain" in listed and api.rows("pipelines")[0]["pipeline_id"] in listed

    assert run(tfx, api, "name=a").exit_code == 0
    deleted = tfx("pipeline", "delete", "--pipeline_name=plain", endpoint=api.url)
    assert deleted.exit_code == 0 and 'Pipeline "plain" deleted successfully.' in deleted.stdout
    assert not api.rows("pipelines") and not api.rows("pipeline_versions")
    listed = tfx("run", "list", "--pipeline_name=plain", endpoint=api.url)
    assert listed.exit_code == 0 and api.rows("runs")[0]["run_id"] in listed.stdout, "what has run stays on record"
    assert not list(tmp_path.rglob("*.yaml")), "a package that is uploaded is not kept here"


def test_a_run_lives_from_create_to_delete(tfx: Tfx, api: FakeApi) -> None:
    create(tfx, api)
    assert "No runs found." in tfx("run", "list", "--pipeline_name=plain", endpoint=api.url).stdout

    result = run(tfx, api, "name=a", "steps=7", "rate=1")
    assert result.exit_code == 0
    (row,) = api.rows("runs")
    assert row["runtime_config"] == {"parameters": {"name": "a", "steps": 7, "rate": 1.0}}
    assert row["pipeline_version_reference"]["pipeline_id"] == api.rows("pipelines")[0]["pipeline_id"]
    assert row["run_id"] in result.stdout and f"{api.url}/#/runs/details/{row['run_id']}" in result.stdout
    for answer in (
        tfx("run", "list", "--pipeline_name=plain", endpoint=api.url),
        tfx("run", "status", "--pipeline_name=plain", f"--run_id={row['run_id']}", endpoint=api.url),
    ):
        assert answer.exit_code == 0 and row["run_id"] in answer.stdout and "PENDING" in answer.stdout

    assert tfx("run", "terminate", f"--run_id={row['run_id']}", endpoint=api.url).exit_code == 0
    for state, history in (("TERMINATING", None), ("TERMINATED", ("RUNNING", "CANCELING"))):
        if history:
            api.report(row["run_id"], "FAILED", *history)
        for answer in ("list", f"status --run_id={row['run_id']}"):
            assert state in tfx("run", *answer.split(), "--pipeline_name=plain", endpoint=api.url).stdout
    assert tfx("run", "delete", f"--run_id={row['run_id']}", endpoint=api.url).exit_code == 0
    assert not api.rows("runs")


def _status(tfx: Tfx, api: FakeApi, state: str, *stages: tuple[str, str]) -> list[str]:
    """What is said of a run in this state, below its own line."""
    create(tfx, api)
    run(tfx, api, "name=a")
    (row,) = api.rows("runs")
    api.progress(row["run_id"], state, *stages)
    answer = tfx("run", "status", "--pipeline_name=plain", f"--run_id={row['run_id']}", endpoint=api.url)
    assert answer.exit_code == 0 and state in answer.stdout
    return answer.stdout[answer.stdout.rindex("+") :].splitlines()[1:]


DONE = (("ParameterCheck", "SUCCEEDED"), ("ImageExampleGen", "SUCCEEDED"))
GLOG = "F1126 12:00:00.000000       1 main.go:57] "


def test_a_failed_run_says_which_stage_failed_and_why(tfx: Tfx, api: FakeApi) -> None:
    log = "step 1\nError: no such file\nTraceback:\nValueError: it\nError: no such bucket: gs://bucket\nend\n"
    api.logs["plain-Trainer-executor"] = log + f"{GLOG}failed to execute component: exit status 1\n"
    lines = [line for line in _status(tfx, api, "FAILED", *DONE, ("Trainer", "FAILED")) if line.strip()]
    # The one stage of this pipeline itself.
    assert lines.pop(0).split() == ["Train", "NOT", "RUN"]
    assert [line.split()[0] for line in lines[:3]] == ["ParameterCheck", "ImageExampleGen", "Trainer"]
    assert "SUCCEEDED, 0 min 45 s" in lines[0] and "FAILED" in lines[2]
    assert lines[3] == "    Error: no such bucket: gs://bucket"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("Error: old\n{GLOG}failed to execute component: signal: killed\n", "limit of memory: give it more memory_gb"),
        ("{GLOG}failed to execute component: signal: terminated\n", "stopped from outside: the run was terminated"),
        ("{GLOG}failed to execute component: exit status 143\n", "or its give_up_after_hours had passed"),
        (
            'end\n{GLOG}failed to upload output artifact "executor-logs" to remote storage URI "s3://b/x": no key\n',
            "providers.s3 in the configmap kfp-launcher",
        ),
        (
            "{GLOG}failed to fetch non-default buckets: Invalid region: region was not a valid DNS name\n",
            "`caching: false` in the cluster's file",
        ),
        ("{GLOG}mkdir /gcs/b/model: not a directory\n", "An object of 0 bytes whose name ends with /"),
    ],
)
def test_what_the_launcher_says_is_told_with_what_to_do(tfx: Tfx, api: FakeApi, log: str, words: str) -> None:
    api.logs["plain-Trainer-executor"] = log.replace("{GLOG}", GLOG)
    text = "\n".join(_status(tfx, api, "FAILED", *DONE, ("Trainer", "FAILED")))
    assert words in text and "Error: old" not in text


def test_a_log_that_is_gone_from_the_cluster_is_in_the_store(tfx: Tfx, api: FakeApi) -> None:
    lines = _status(tfx, api, "FAILED", *DONE, ("Trainer", "FAILED"))
    (row,) = api.rows("runs")
    assert f"gs://bucket/root/plain/{row['run_id']}/Trainer/<id>/executor-logs-0" in "\n".join(lines)


def test_a_pod_that_cannot_start_is_told_with_the_time_since_when(tfx: Tfx, api: FakeApi) -> None:
    text = "\n".join(_status(tfx, api, "RUNNING", *DONE, ("Trainer", "PENDING")))
    assert "nothing has moved since 2026-01-02 00:02:00" in text and text.count("has not started") == 1


def test_a_run_of_which_nothing_begins_is_told_too(tfx: Tfx, api: FakeApi) -> None:
    create(tfx, api)
    run(tfx, api, "name=a")
    answer = tfx(
        "run", "status", "--pipeline_name=plain", f"--run_id={api.rows('runs')[0]['run_id']}", endpoint=api.url
    )
    assert "No stage has begun since the run was created, 2026-01-02" in answer.stdout


def test_a_stage_that_runs_is_not_said_to_wait(tfx: Tfx, api: FakeApi) -> None:
    text = "\n".join(_status(tfx, api, "RUNNING", ("ParameterCheck", "CACHED"), ("Trainer", "RUNNING")))
    assert "has not started" not in text and "SUCCEEDED, from the cache" in text


def test_every_stage_has_a_line_in_the_pipelines_order(tfx: Tfx, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TASK": "digits", "IMAGE": "draw:1", "PIPELINE_ROOT": "gs://bucket/draw"}.items():
        monkeypatch.setenv(name, value)
    assert tfx("pipeline", "create", f"--pipeline_path={kubeflow_runner.__file__}", endpoint=api.url).exit_code == 0
    assert tfx("run", "create", "--pipeline_name=draw", endpoint=api.url).exit_code == 0
    (row,) = api.rows("runs")
    api.progress(row["run_id"], "FAILED", ("ParameterCheck", "SUCCEEDED"), ("ImportSchemaGen", "FAILED"))

    def stages() -> list[list[str]]:
        answer = tfx("run", "status", "--pipeline_name=draw", f"--run_id={row['run_id']}", endpoint=api.url)
        lines = answer.stdout[answer.stdout.rindex("+") :].splitlines()[1:]
        return [line.split()[:2] for line in lines if line.strip() and not line.startswith(" ")]

    assert stages()[:2] == [["ParameterCheck", "SUCCEEDED,"], ["ImportSchemaGen", "FAILED,"]]
    names = [name for name, _ in stages()]
    assert len(names) == 10 and all(state == "NOT" for _, state in stages()[2:])
    assert (
        names.index("ImageExampleGen") < names.index("StatisticsGen") < names.index("Trainer") < names.index("Pusher")
    )
    assert names[-1] == "RunReport"
    # What a pipeline was is gone with it; its runs are not.
    assert tfx("pipeline", "delete", "--pipeline_name=draw", endpoint=api.url).exit_code == 0
    assert [name for name, _ in stages()] == ["ParameterCheck", "ImportSchemaGen"]


def test_a_run_takes_the_latest_version_and_another_root(
    tfx: Tfx, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tfx, api)
    monkeypatch.setenv("PLAIN_STEPS", "5")
    tfx("pipeline", "update", f"--pipeline_path={PLAIN}", endpoint=api.url)
    assert run(tfx, api, "name=a", "pipeline-root=minio://other/root").exit_code == 0
    (row,) = api.rows("runs")
    latest = api.rows("pipeline_versions")[-1]
    assert row["pipeline_version_reference"]["pipeline_version_id"] == latest["pipeline_version_id"]
    assert latest["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]["steps"]["defaultValue"] == 5
    assert row["runtime_config"] == {"parameters": {"name": "a"}, "pipeline_root": "minio://other/root"}
    for root in ("/tmp/root", "gs://", "minio:///root"):
        assert "has to begin with gs://" in refused(run(tfx, api, "name=a", f"pipeline-root={root}"))


def test_parameters_that_the_pipeline_does_not_take_are_refused_by_name(tfx: Tfx, api: FakeApi) -> None:
    create(tfx, api)
    line = refused(run(tfx, api, "name=a", "stpes=7"))
    assert "no runtime parameter 'stpes'" in line
    assert "name (text), rate (a number), steps (an integer), pipeline-root (an address)" in line
    assert "'steps' has to be an integer; it is '7.5'" in refused(run(tfx, api, "name=a", "steps=7.5"))
    assert "'rate' has to be a number; it is 'nan'" in refused(run(tfx, api, "name=a", "rate=nan"))
    assert "no default for 'name'" in refused(run(tfx, api))
    assert not api.rows("runs")


def test_lists_have_every_page(tfx: Tfx, api: FakeApi) -> None:
    create(tfx, api)
    for _ in range(3):
        run(tfx, api, "name=a")
    api.largest_page = 1
    listed = tfx("run", "list", "--pipeline_name=plain", endpoint=api.url).stdout
    positions = [listed.index(row["run_id"]) for row in api.rows("runs")]
    assert positions == sorted(positions, reverse=True), "the latest first"


def test_several_users_have_their_namespaces(tfx: Tfx) -> None:
    with serving(FakeApi(multi_user=True)) as api:
        assert "name your own namespace with --namespace" in refused(create(tfx, api))
        assert create(tfx, api, "--namespace=ann").exit_code == 0
        assert api.rows("pipelines")[0]["namespace"] == "ann"
        of_bob = tfx("pipeline", "list", "--namespace=bob", endpoint=api.url)
        assert "No pipelines to display." in of_bob.stdout
        ran = tfx("run", "create", "--pipeline_name=plain", "-n", "ann", "--runtime_parameter=name=a", endpoint=api.url)
        assert ran.exit_code == 0
        assert api.rows("experiments")[0]["namespace"] == "ann"


@pytest.mark.parametrize(
    ("status", "content_type", "body", "expected"),
    [
        (401, "text/plain", "jwt missing", "does not know who you are (401: jwt missing)"),
        (302, "text/html", "", "does not know who you are (302: Found)"),
        (403, "application/json", '{"code": 7, "message": "no\\naccess"}', "in namespace 'kubeflow' (403: no access)"),
        (403, "text/plain", "RBAC: access denied", "does not allow this"),
        (404, "text/html", "<h1>nginx</h1>", "has no such thing (404: <h1>nginx</h1>)"),
        (500, "application/json", '{"error": "MySQL is gone"}', "failed (500: MySQL is gone). Its own log says why."),
        (200, "text/html", "<form>password</form>", "answers, but not as Kubeflow Pipelines does"),
    ],
)
def test_what_the_server_refuses_is_one_line(
    tfx: Tfx, api: FakeApi, status: int, content_type: str, body: str, expected: str
) -> None:
    api.refusal = (status, content_type, body)
    assert expected in refused(tfx("pipeline", "list", endpoint=api.url))
    assert len(api.requests) == 0, "the answer came from the refusal"


def test_where_nothing_answers_that_is_told_at_once(tfx: Tfx, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = "Nothing answers at http://127.0.0.1:9: Failed to establish a new connection"
    assert refused(tfx("run", "list", "--pipeline_name=a", endpoint="http://127.0.0.1:9")).startswith(expected)
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    assert refused(tfx("run", "list", "--pipeline_name=a")).startswith(expected)


def test_names_and_ids_that_do_not_exist_are_told(tfx: Tfx, api: FakeApi) -> None:
    for arguments in (
        ("pipeline", "delete", "--pipeline_name=gone"),
        ("run", "create", "--pipeline_name=gone"),
        ("run", "list", "--pipeline_name=gone"),
    ):
        assert 'Cannot find pipeline "gone"' in refused(tfx(*arguments, endpoint=api.url))
    assert 'Cannot find pipeline "plain"' in refused(
        tfx("pipeline", "update", f"--pipeline_path={PLAIN}", endpoint=api.url)
    )
    for arguments in (("status", "--pipeline_name=plain"), ("terminate",), ("delete",)):
        assert "runs 17 not found" in refused(tfx("run", *arguments, "--run_id=17", endpoint=api.url))


def test_what_the_pipeline_is_wrong_about_is_told_before_anything_is_uploaded(
    tfx: Tfx, api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as context:
        context.setenv("PLAIN_RESOLVER", "1")
        context.setenv("PLAIN_ROOT", str(tmp_path))
        result = create(tfx, api)
        assert result.exit_code == 1
        assert "Resolver" in result.stderr and f"it is {tmp_path}" in result.stderr
    monkeypatch.setenv("PLAIN_STEPS", "0")
    assert refused(create(tfx, api)) == f"{PLAIN}: PLAIN_STEPS is 0: give at least 1."
    assert not api.uploads


def test_our_own_pipeline_trains_another_task_than_it_was_made_with(
    tfx: Tfx, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TASK": "digits", "IMAGE": "draw:1", "PIPELINE_ROOT": "gs://bucket/draw"}.items():
        monkeypatch.setenv(name, value)
    creation = ("pipeline", "create", f"--pipeline_path={Path(kubeflow_runner.__file__)}")
    assert 'Pipeline "draw" created successfully.' in tfx(*creation, endpoint=api.url).stdout
    parameters = ("--runtime_parameter=task=mnist", "--runtime_parameter=steps=2000")
    assert tfx("run", "create", "--pipeline_name=draw", *parameters, endpoint=api.url).exit_code == 0
    assert api.rows("runs")[0]["runtime_config"] == {"parameters": {"task": "mnist", "steps": 2000}}
    monkeypatch.setenv("TASK", "minst")
    assert refused(tfx(*creation, endpoint=api.url)).startswith(
        "There is no task 'minst'. Did you mean mnist? The tasks are: "
    )


def test_an_image_is_built_where_docker_is(
    tfx: Tfx, api: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    assert "needs a Docker engine that builds and pushes image:1" in refused(create(tfx, api, "--build-image"))
    assert not (tmp_path / "Dockerfile").exists() and not api.uploads


def test_the_schema_of_a_run_is_elsewhere(tfx: Tfx) -> None:
    assert "is not supported with --engine=kubeflow" in refused(tfx("pipeline", "schema", "--pipeline_name=plain"))


@pytest.fixture
def import_again(_served: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Imports the handler as TFX's command does in a new process; returns the name of the module that defines it."""
    parent, _, name = draw_tfx_startup.SERVED.rpartition(".")
    monkeypatch.setattr(importlib.import_module(parent), name, None, raising=False)
    # Set first, so that what is imported in its place is forgotten in the end.
    monkeypatch.setitem(sys.modules, draw_tfx_startup.SERVED, type(sys)(name))
    del sys.modules[draw_tfx_startup.SERVED]
    for alias in [alias for alias in sys.modules if alias.startswith(draw_tfx_startup.ALIAS)]:
        monkeypatch.delitem(sys.modules, alias)
    return lambda: importlib.import_module(draw_tfx_startup.SERVED).KubeflowHandler.__module__


def test_the_users_own_package_pipeline_is_not_in_the_way(
    import_again: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pipeline"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pipeline", type(sys)("pipeline"))
    assert import_again() == f"{draw_tfx_startup.ALIAS}.tfx_cli_handler"


def test_our_handler_stands_back_where_tfxs_own_can_be_imported(
    import_again: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tfx.orchestration.kubeflow.kubeflow_dag_runner", "tfx.tools.cli.handler.kubeflow_dag_runner_patcher"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    assert import_again() == draw_tfx_startup.SERVED
