"""A Beam job on an engine elsewhere: its cancellation, and what is said of its failure."""

from __future__ import annotations

import http.server
import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from serving import beam_job
from serving.beam_job import JobFailed, JobGoesOn, reason

NAME = "draw-score-batch-0a1b2c3d"


class Result:
    """A result of a runner on other machines, which ends only when it is cancelled; its user interrupts it."""

    def __init__(self, *, obeys: bool) -> None:
        self.state = "RUNNING"
        self._obeys = obeys

    def wait_until_finish(self) -> None:
        # Not by an alarm, which is the one that ends tests that hang.
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
def short_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(beam_job, "_CANCEL_SECONDS", 0.5)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


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


@pytest.mark.parametrize("obeys", [True, False])
def test_an_interruption_cancels_a_job_elsewhere(obeys: bool, tmp_path: Path) -> None:
    result = Result(obeys=obeys)
    handler = signal.getsignal(signal.SIGINT)
    said = _run(result, "--runner=DataflowRunner")
    assert signal.getsignal(signal.SIGINT) is handler
    assert list(tmp_path.iterdir()) == []
    where = f"The job {NAME}, which is RUNNING, goes on on DataflowRunner: cancel it there."
    assert said == (["cancelled"] if obeys else [where, "goes on"])
    result.state = "CANCELLED"


class Flink(http.server.BaseHTTPRequestHandler):
    """The REST API of a session cluster, on which the jobs that Beam's job server cancels go on."""

    jobs: dict[str, dict[str, str]]
    obeys: bool

    def do_GET(self) -> None:
        assert self.path == "/jobs/overview"
        self._answer(200, {"jobs": [{"jid": jid, **job} for jid, job in self.jobs.items()]})

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
def flink(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, dict[str, str]], bool]]:
    jobs = {
        "1": {"name": f"{NAME}_b1", "state": "RUNNING"},
        "2": {"name": "anothers", "state": "RUNNING"},
        "3": {"name": NAME, "state": "FINISHED"},
    }
    handler = type("Handler", (Flink,), {"jobs": jobs, "obeys": request.param})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", jobs, request.param
        server.shutdown()


@pytest.mark.parametrize("flink", [True, False], indirect=True)
def test_a_job_on_flink_is_cancelled_where_it_runs(
    flink: tuple[str, dict[str, dict[str, str]], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, jobs, obeys = flink
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    result = Result(obeys=True)
    if obeys:  # It has all the time that it needs.
        monkeypatch.setattr(beam_job, "_CANCEL_SECONDS", 60)
    said = _run(result, "--runner=FlinkRunner", f"--flink_master={address}")
    states = {jid: job["state"] for jid, job in jobs.items()}
    if obeys:
        assert said == ["cancelled"]
        assert states == {"1": "CANCELED", "2": "RUNNING", "3": "FINISHED"}
    else:
        assert states == {"1": "RUNNING", "2": "RUNNING", "3": "FINISHED"}
        where = f"The job {NAME}, which is RUNNING, goes on at http://{address}: cancel it there."
        assert said == [where, "goes on"]


def test_flink_that_answers_no_more_does_not_hide_that_the_job_may_go_on() -> None:
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
