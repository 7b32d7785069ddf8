"""Runs a Beam pipeline to its end, or cancels it where its user interrupts it: here, and on an engine elsewhere."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PortableOptions,
    StandardOptions,
)
from apache_beam.runners.runner import PipelineResult, PipelineState

if TYPE_CHECKING:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

_LOOK_SECONDS = 0.2
_CANCEL_SECONDS = 30.0
_REST_SECONDS = 10.0
_ON_ITS_WAY = "on its way"
"""To Flink, which does not show the job."""
_FLINK_ENDS = ("FINISHED", "CANCELED", "FAILED", "SUSPENDED")
_OUR_PACKAGES = ("components", "pipeline", "serving", "trainer")
_WITH_SENTENCES = (OSError, RuntimeError, ValueError)
"""Errors whose messages can be read without the name of their class."""
_TRACEBACK = "Traceback (most recent call last):\n"


class JobGoesOn(KeyboardInterrupt):
    """The user has interrupted a job whose engine has not ended it: its workers may still write."""


class JobFailed(RuntimeError):
    """An engine elsewhere has ended the job: why, and where its log is."""


def name_job(options: PipelineOptions, name: str) -> None:
    """Gives the job a name of its own, by which an engine's page shows it, unless the user has named it.

    On Flink, where several may have one name, and ours are cancelled by it, what tells it from others is added.
    """
    named = options.view_as(GoogleCloudOptions)
    if not named.job_name or _flink_url(options):
        named.job_name = f"{named.job_name or name}-{uuid.uuid4().hex[:8]}"


def run(pipeline: beam.Pipeline, options: PipelineOptions, report: Callable[[str], None], *, is_local: bool) -> None:
    """Runs the pipeline to its end, or cancels it where this thread is interrupted.

    Beam drops an interruption that reaches it in a callback, so it works in a thread of its own.

    Args:
      pipeline: what to run.
      options: its options, see `name_job`.
      report: called with each line of text for the user.
      is_local: whether the runner works in this process and its children.

    Raises:
      JobGoesOn: if the user has interrupted it, and its engine has not ended it within half a minute.
      JobFailed: if an engine elsewhere has ended it.
      Exception: whatever ended it here.
    """
    if is_local:
        _wait(lambda: pipeline.run().wait_until_finish())
    else:
        with _log_file(options) as log:
            _run_elsewhere(pipeline, options, report, log)


def _run_elsewhere(pipeline: beam.Pipeline, options: PipelineOptions, report: Callable[[str], None], log: str) -> None:
    results: list[PipelineResult] = []
    # Beam's job servers put their handlers in place of Python's, which end the server before the job.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        try:
            results.append(pipeline.run())
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        _wait(results[0].wait_until_finish)
    except Exception as error:
        raise JobFailed(f"{reason(error)} The log is {log}") from error
    except BaseException as interruption:
        try:
            state = _cancel(results, options)
        except KeyboardInterrupt:  # a second one, by a user who does not wait for the end
            state = "unknown"
        if state:
            where = _place(options)
            report(f"The job {_name(options)}, which is {state}, goes on {where}: cancel it there.")
            raise JobGoesOn from interruption
        raise
    if results[0].state != PipelineState.DONE:
        raise JobFailed(f"The engine ended the job as {results[0].state}. The log is {log}")


def _wait(work: Callable[[], object]) -> None:
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=attempt, name="beam", daemon=True)
    worker.start()
    while worker.is_alive():
        worker.join(_LOOK_SECONDS)
    if errors:
        raise errors[0]


def _name(options: PipelineOptions) -> str:
    return str(options.view_as(GoogleCloudOptions).job_name)


def _place(options: PipelineOptions) -> str:
    url = _flink_url(options)
    return f"at {url}" if url else f"on {options.view_as(StandardOptions).runner}"


def _cancel(results: list[PipelineResult], options: PipelineOptions) -> str | None:
    """Cancels a job, and waits a little for its end; returns its state where that did not come."""
    until = time.monotonic() + _CANCEL_SECONDS
    url = _flink_url(options)
    # One that this process has started ends with it, and submits nothing more.
    is_server_ours = not options.view_as(PortableOptions).job_endpoint
    state = "unknown"
    if results:
        # In a thread, for the job's server may be gone, and whoever asks it would wait for ever.
        asking = threading.Thread(target=_attempt(results[0].cancel), daemon=True)
        asking.start()
        asking.join(_REST_SECONDS)
    while True:
        # Beam's job server forgets the job, and the cluster goes on with it: only the cluster knows.
        before, state = state, _flink_state(url, _name(options)) if url else _state(results)
        if PipelineState.is_terminal(state) or (state == _ON_ITS_WAY and is_server_ours):
            return None
        if before == _ON_ITS_WAY != state:
            until = time.monotonic() + _CANCEL_SECONDS
        if time.monotonic() >= until:
            return state
        time.sleep(_LOOK_SECONDS)


def _attempt(work: Callable[[], object]) -> Callable[[], None]:
    def attempt() -> None:
        with contextlib.suppress(Exception):
            work()

    return attempt


def _state(results: list[PipelineResult]) -> str:
    if not results:
        return PipelineState.CANCELLED  # it was not submitted
    try:
        return str(results[0].state)
    except Exception as error:  # whatever a runner's client raises
        return f"unknown ({type(error).__name__})"


def _flink_url(options: PipelineOptions) -> str | None:
    """Returns the address of the REST API of a Flink cluster; None for another engine, or for Flink in one process."""
    master = str(options.view_as(FlinkRunnerOptions).flink_master)
    if master.startswith("["):
        return None
    return master.rstrip("/") if "://" in master else f"http://{master}"


def _flink_state(url: str, name: str) -> str:
    """Asks Flink to cancel the job of this name; returns Beam's word for its state, or _ON_ITS_WAY."""
    try:
        jobs = [job for job in _flink(url, "/jobs/overview")["jobs"] if name in job["name"]]
        running = [job for job in jobs if job["state"] not in _FLINK_ENDS]
        for job in running:
            if job["state"] != "CANCELLING":
                _flink(url, f"/jobs/{job['jid']}?mode=cancel", method="PATCH")
    except (OSError, ValueError, KeyError) as error:
        return f"unknown ({type(error).__name__})"
    if running:
        return str(running[0]["state"])
    return str(PipelineState.CANCELLED) if jobs else _ON_ITS_WAY


def _flink(url: str, path: str, method: str = "GET") -> dict[str, Any]:
    # Not by a proxy of the environment, which knows no cluster.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(f"{url}{path}", method=method), timeout=_REST_SECONDS) as answer:
        return dict(json.loads(answer.read() or b"{}"))


@contextlib.contextmanager
def _log_file(options: PipelineOptions) -> Iterator[str]:
    """Keeps what Beam and its engine log in a file, which stays where the job fails."""
    file, path = tempfile.mkstemp(prefix=f"{_name(options).replace('/', '-')}-", suffix=".log")
    os.close(file)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    root, beams = logging.getLogger(), logging.getLogger("apache_beam")
    level, others, hook = beams.level, root.handlers, threading.excepthook
    root.handlers = [handler]  # a library may have put one there that writes to the terminal
    beams.setLevel(logging.INFO)
    # Threads of Beam's workers end so where the engine hangs up.
    threading.excepthook = lambda thread: root.error("in %s", thread.thread, exc_info=thread.exc_value)
    has_failed = False
    try:
        yield path
    except JobFailed:
        has_failed = True
        raise
    finally:
        if not has_failed:
            os.unlink(path)
        beams.setLevel(level)
        root.handlers, threading.excepthook = others, hook
        handler.close()


def reason(error: BaseException) -> str:
    """Returns the one line that says why a job failed: Beam reports its worker's whole traceback, and Java's after it.

    An error of ours is a whole sentence; the name of any other stands before its message.
    """
    for place, inner in (getattr(error, "exception_details", None) or {}).items():  # of a store, by Beam
        if isinstance(inner, Exception):
            return reason(inner) if getattr(inner, "exception_details", None) else f"{place}: {reason(inner)}"
    # As text, a store's error is its message and its status in brackets.
    message = getattr(error, "message", None)
    text = re.sub(r" \[while running '[^']*'\]", "", message if isinstance(message, str) else str(error)).strip()
    _, is_elsewhere, failure = text.partition(" failed in state ")
    _, is_traceback, python = text.rpartition(_TRACEBACK)
    if is_traceback:
        lines = [line for line in python.splitlines() if line.strip() and line[0] not in " \t"]
    elif is_elsewhere:
        lines = failure.partition(": ")[2].strip().splitlines()
    else:
        lines = text.splitlines()[-1:]
    line = lines[0].strip() if lines else ""
    if re.search(rf"No module named '(?:{'|'.join(_OUR_PACKAGES)})\b", line):
        return "The workers' Python lacks this package: install draw-tfx there, in the same version, or take its image."
    if not (is_traceback or is_elsewhere):
        is_sentence = isinstance(error, _WITH_SENTENCES) or type(error).__module__.startswith("serving.")
        return line if is_sentence and line else f"{type(error).__name__}: {line}"
    name, _, message = line.partition(": ")
    is_sentence = name in (kind.__name__ for kind in _WITH_SENTENCES) or name.partition(".")[0] in _OUR_PACKAGES
    return message if is_sentence and message else line
