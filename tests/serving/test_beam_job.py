"""A Beam job on an engine elsewhere: its cancellation, and what is said of its failure."""

from __future__ import annotations

import http.server
import json
import logging
import os
import re
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.io.filesystem import BeamIOError
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from serving import beam_job
from serving.beam_job import JobFailed, JobGoesOn, reason

NAME = "draw-score-batch-0a1b2c3d"


class Result:
    """A result of a runner on other machines, which ends only when it is cancelled; its user interrupts the wait."""

    def __init__(self, *, obeys: bool) -> None:
        self.state = "RUNNING"
        self._obeys = obeys

    def wait_until_finish(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        while self.state == "RUNNING":
            time.sleep(0.05)

    def cancel(self) -> None:
        if self._obeys:
            self.state = "CANCELLED"


class Pipeline:
    """Submits at once."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def run(self) -> Any:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Beam's job servers do
        return self._result


@pytest.fixture(autouse=True)
def temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a job that does not end."""
    monkeypatch.setattr(beam_job, "_CANCEL_SECONDS", 0.5)


def _run(result: Any, *arguments: str) -> list[str]:
    said: list[str] = []
    options = PipelineOptions([f"--job_name={NAME}", *arguments])
    try:
        beam_job.run(Pipeline(result), options, said.append, is_local=False)
    except JobGoesOn:
        said.append("goes on")
    except KeyboardInterrupt:
        said.append("cancelled")
    return said


def test_an_interruption_cancels_a_job_elsewhere(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    assert _run(Result(obeys=True), "--runner=DataflowRunner") == ["cancelled"]
    assert signal.getsignal(signal.SIGINT) is handler
    assert list(tmp_path.iterdir()) == []


def test_one_that_does_not_end_is_named_with_its_place(impatient: None, tmp_path: Path) -> None:
    result = Result(obeys=False)
    where = f"The job {NAME}, which is RUNNING, goes on on DataflowRunner: cancel it there."
    assert _run(result, "--runner=DataflowRunner") == [where, "goes on"]
    assert list(tmp_path.iterdir()) == []
    result.state = "CANCELLED"


def test_who_interrupts_twice_is_told_that_it_may_go_on() -> None:
    """Its folder must not be taken from its workers."""

    class Unheard(Result):
        def cancel(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    result = Unheard(obeys=False)
    where = f"The job {NAME}, which is unknown, goes on on DataflowRunner: cancel it there."
    assert _run(result, "--runner=DataflowRunner") == [where, "goes on"]
    result.state = "CANCELLED"


class Flink(http.server.BaseHTTPRequestHandler):
    """The REST API of a session cluster, on which the jobs that Beam's job server cancels go on."""

    address: str
    jobs: dict[str, dict[str, str]]
    obeys: bool
    hidden: list[int]
    """How often the running job is not shown yet, for it is on its way."""

    def do_GET(self) -> None:
        assert self.path == "/jobs/overview"
        shown = dict(self.jobs)
        if self.hidden[0]:
            self.hidden[0] -= 1
            del shown["1"]
        self._answer(200, {"jobs": [{"jid": jid, **job} for jid, job in shown.items()]})

    def do_PATCH(self) -> None:
        jid = self.path.removeprefix("/jobs/").removesuffix("?mode=cancel")
        if self.obeys:
            self.jobs[jid]["state"] = "CANCELED"
        self._answer(202, {})

    def _answer(self, status: int, values: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(values).encode())

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def flink(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Flink]]:
    """A cluster with a job of ours, and another's."""
    jobs = {"1": {"name": f"{NAME}_b1", "state": "RUNNING"}, "2": {"name": "anothers", "state": "RUNNING"}}
    handler = type("Handler", (Flink,), {"jobs": jobs, "obeys": True, "hidden": [0]})
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        handler.address = f"127.0.0.1:{server.server_port}"
        yield handler
        server.shutdown()


def _states(flink: type[Flink]) -> dict[str, str]:
    return {jid: job["state"] for jid, job in flink.jobs.items()}


@pytest.mark.parametrize("url", ["{}", "http://{}/"])
def test_a_job_on_flink_is_cancelled_where_it_runs(flink: type[Flink], url: str) -> None:
    master = url.format(flink.address)
    assert _run(Result(obeys=True), "--runner=FlinkRunner", f"--flink_master={master}") == ["cancelled"]
    assert _states(flink) == {"1": "CANCELED", "2": "RUNNING"}


ELSEWHERE = ("--runner=PortableRunner", "--job_endpoint=h:8099")
"""A job server that goes on with what it was given: seen 15 seconds after it was told to cancel."""


def test_a_job_that_is_on_its_way_to_flink_is_cancelled_when_it_comes(flink: type[Flink]) -> None:
    flink.hidden[0] = 3
    assert _run(Result(obeys=True), *ELSEWHERE, f"--flink_master={flink.address}") == ["cancelled"]
    assert _states(flink) == {"1": "CANCELED", "2": "RUNNING"}


def test_a_job_that_does_not_come_may_yet(impatient: None, flink: type[Flink]) -> None:
    flink.hidden[0] = 10**6
    where = f"The job {NAME}, which is on its way, goes on at http://{flink.address}: cancel it there."
    assert _run(Result(obeys=True), *ELSEWHERE, f"--flink_master={flink.address}") == [where, "goes on"]
    # But for a job server that ends with the command.
    assert _run(Result(obeys=True), "--runner=FlinkRunner", f"--flink_master={flink.address}") == ["cancelled"]


def test_a_job_that_flink_does_not_end_is_named_with_its_place(impatient: None, flink: type[Flink]) -> None:
    flink.obeys = False
    where = f"The job {NAME}, which is RUNNING, goes on at http://{flink.address}: cancel it there."
    said = _run(Result(obeys=True), "--runner=FlinkRunner", f"--flink_master={flink.address}")
    assert said == [where, "goes on"]
    assert _states(flink) == {"1": "RUNNING", "2": "RUNNING"}


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ((), "draw-score-batch-[0-9a-f]{8}"),
        (("--job_name=nightly",), "nightly"),
        # Where a job is found by its name, that of another of this name must not be.
        (("--job_name=nightly", "--flink_master=h:8081"), "nightly-[0-9a-f]{8}"),
    ],
)
def test_a_job_has_a_name(arguments: tuple[str, ...], pattern: str) -> None:
    options = PipelineOptions(list(arguments))
    beam_job.name_job(options, "draw-score-batch")
    assert re.fullmatch(pattern, options.view_as(GoogleCloudOptions).job_name)


def test_flink_that_answers_no_more_does_not_hide_that_the_job_may_go_on(impatient: None) -> None:
    said = _run(Result(obeys=True), "--runner=FlinkRunner", "--flink_master=127.0.0.1:9")
    assert said[0].startswith(f"The job {NAME}, which is unknown (URLError), goes on at http://127.0.0.1:9")
    assert said[1] == "goes on"


_WORKERS = """Traceback (most recent call last):
  File "/opt/apache_beam/runners/worker/sdk_worker.py", line 311, in _execute
    response = task()
{error} [while running 'Score/Infer-ptransform-12']

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient.handle(FnApiControlClient.java:180)
\tat java.base/java.lang.Thread.run(Thread.java:840)"""
_PORTABLE = "Pipeline draw_1 failed in state FAILED: java.lang.RuntimeException: Error received from SDK harness: "


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError(_PORTABLE + _WORKERS.format(error="ValueError: The model is gone.")), "The model is gone."),
        (RuntimeError(_PORTABLE + _WORKERS.format(error="KeyError: 'a'")), "KeyError: 'a'"),
        (
            RuntimeError(_PORTABLE + _WORKERS.format(error="ModuleNotFoundError: No module named 'serving'")),
            "The workers' Python lacks this package: install draw-tfx there, in the same version, or take its image.",
        ),
        (
            RuntimeError(_PORTABLE + _WORKERS.format(error="ModuleNotFoundError: No module named 'servings'")),
            "ModuleNotFoundError: No module named 'servings'",
        ),
        (
            RuntimeError("Pipeline j failed in state FAILED: org.apache.flink.X: no slots\n\tat a.B(C.java:1)"),
            "org.apache.flink.X: no slots",
        ),
        (OSError("Cannot write /x: No space left on device."), "Cannot write /x: No space left on device."),
        (KeyError("a"), "KeyError: 'a'"),
        (
            BeamIOError(
                "Match failed", {"s3://b/x/**": BeamIOError("List failed", {"s3://b/x/": KeyError("wrong key")})}
            ),
            "s3://b/x/: KeyError: 'wrong key'",
        ),
        (BeamIOError("Delete failed", {"s3://b/x": None}), "Delete failed with exceptions {'s3://b/x': None}"),
    ],
    ids=lambda value: "" if isinstance(value, BaseException) else value[:20],
)
def test_a_failure_is_one_line(error: Exception, line: str) -> None:
    assert reason(error) == line


def test_a_failure_elsewhere_names_the_log_which_success_removes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Failing(Result):
        def wait_until_finish(self) -> None:
            logging.getLogger("apache_beam.utils.subprocess_server").info("Waiting for grpc channel to be ready.")
            logging.error("a traceback of Java")  # Beam logs so what the engine says
            raise RuntimeError(_PORTABLE + _WORKERS.format(error="ValueError: The model is gone."))

    logging.getLogger().addHandler(logging.StreamHandler())
    with pytest.raises(JobFailed, match=r"^The model is gone\. The log is ") as caught:
        _run(Failing(obeys=True), "--runner=FlinkRunner")
    (log,) = tmp_path.iterdir()
    assert str(caught.value).endswith(f"The log is {log}")
    assert "Waiting for grpc channel" in log.read_text() and "a traceback of Java" in log.read_text()
    logging.getLogger().handlers.pop()
    assert capfd.readouterr().err == ""
    log.unlink()

    class Succeeding(Result):
        def wait_until_finish(self) -> None:
            self.state = "DONE"

    assert _run(Succeeding(obeys=True), "--runner=FlinkRunner") == []
    assert list(tmp_path.iterdir()) == []
