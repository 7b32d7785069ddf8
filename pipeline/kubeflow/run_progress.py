"""What a run of Kubeflow Pipelines 2.x has done, by stage, as its API tells it: states and logs, and no errors."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

ReadLog = Callable[[str], "str | None"]
"""Reads the log of a node by its name; None where there is none."""

_DRIVER = "-driver"
_ROOT = "root"
"""The node of the whole pipeline, which has a driver too."""
_OLDEST = datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
_SOON = datetime.timedelta(minutes=1)
"""In which a pod starts where nothing is wrong."""

_ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
# Its last words, in glog's form: what it says of the stage's own command, or why it failed itself.
_LAUNCHER = re.compile(r"^[EF]\d{4} [^\]]*\] (?P<text>.*)", re.MULTILINE)
_COMMAND_FAILED = "failed to execute component: "
_KILLED_FROM_OUTSIDE = ("signal: terminated", "exit status 143")
_ADVICE = {
    "failed to upload output artifact": (
        "An s3:// root needs providers.s3 in the configmap kfp-launcher, or the credentials there are wrong."
    ),
    "region was not a valid DNS name": (
        "The root's scheme has changed, and the cache names artifacts at the old one: run a package once that was "
        "compiled with `caching: false` in the cluster's file."
    ),
    "not a directory": (
        "An object of 0 bytes whose name ends with / is taken for a file (kubeflow/pipelines#13476): delete it."
    ),
}
"""What to do, by a part of the launcher's message."""


def state(run: Any) -> str:
    """Returns a run's state, TERMINATED where Kubeflow Pipelines tells that it was stopped: its own word is FAILED."""
    if run.state == "FAILED" and _was_cancelled(run):
        return "TERMINATED"
    return {"CANCELING": "TERMINATING", "CANCELED": "TERMINATED"}.get(run.state, run.state or "PENDING")


def lines(run: Any, spec: Mapping[str, Any] | None, read_log: ReadLog) -> Iterator[str]:
    """Yields a line for each stage in the pipeline's order, and more for one that has not ended well.

    Args:
        run: a V2beta1Run. Its tasks are Argo's nodes: `X-driver` and `X` of each stage, and below `X` its attempts.
        spec: the PipelineSpec of the run; None where it is gone, with the pipeline: then those that began are told.
        read_log: for the log of a failed stage.
    """
    tasks = list((run.run_details and run.run_details.task_details) or ())
    by_stage = {}
    for task in tasks:
        if str(task.display_name).endswith(_DRIVER):
            by_stage[task.display_name.removesuffix(_DRIVER)] = task
    for stage in _in_order(by_stage, spec):
        driver = by_stage.get(stage)
        if driver is None:
            yield f"{stage:24} {'NOT RUN' if run.state in _ENDED else 'NOT STARTED'}"
            continue
        own = [task for task in tasks if task.display_name == stage]
        pods = _leaves(own or [driver], tasks)
        stage_state = own[0].state if own else driver.state
        is_cached = stage_state == "SUCCEEDED" and bool(own) and all(pod.state == "SKIPPED" for pod in pods)
        yield f"{stage:24} {stage_state}{', from the cache' if is_cached else _duration(driver, own)}"
        if stage_state == "FAILED" and state(run) != "TERMINATED":
            yield from (f"    {line}" for line in _reason(run, spec, stage, pods, read_log))
        if waiting := _waiting(run, pods):
            yield f"    {waiting}"
    if not by_stage and run.state not in _ENDED:
        yield f"No stage has begun since the run was created, {_ago(run.created_at or _OLDEST)}."


def _was_cancelled(run: Any) -> bool:
    return any(status.state in ("CANCELING", "CANCELED") for status in run.state_history or ())


def _in_order(drivers: Mapping[str, Any], spec: Mapping[str, Any] | None) -> list[str]:
    """Lists the pipeline's stages so that each comes after those that it waits for; that of the root if it failed."""
    began = sorted((stage for stage in drivers if stage != _ROOT), key=lambda stage: _began(drivers[stage]))
    root = [_ROOT] if _ROOT in drivers and drivers[_ROOT].state == "FAILED" else []
    before = {
        stage: set(task.get("dependentTasks", ()))
        for stage, task in (spec or {}).get("root", {}).get("dag", {}).get("tasks", {}).items()
    }
    order: list[str] = []
    waiting = [*(stage for stage in began if stage in before), *sorted(set(before) - set(began))]
    while waiting:
        stage = next((stage for stage in waiting if before[stage] <= set(order)), waiting[0])
        waiting.remove(stage)
        order.append(stage)
    return [*root, *order, *(stage for stage in began if stage not in before)]


def _reason(
    run: Any, spec: Mapping[str, Any] | None, stage: str, pods: Sequence[Any], read_log: ReadLog
) -> Iterator[str]:
    """Yields why the last attempt failed, by its log, and what to do where that is known; or where the log lies."""
    for pod in sorted(pods, key=_began, reverse=True):
        if pod.state != "FAILED":
            continue
        # The API names a node by its pod or by its id, as Argo's release has it.
        logs = (read_log(name) for name in (pod.pod_name, pod.task_id) if name)
        if log := next(filter(None, logs), None):
            launcher = [match["text"] for match in _LAUNCHER.finditer(log)]
            ending = launcher[-1] if launcher else (log.splitlines() or [""])[-1]
            if "signal: killed" in ending:
                yield "Error: it was killed, which happens at the limit of memory: give it more memory_gb."
                return
            if any(words in ending for words in _KILLED_FROM_OUTSIDE):
                yield (
                    "It was stopped from outside: the run was terminated, which Kubeflow Pipelines shows as FAILED, or "
                    "its give_up_after_hours had passed."
                )
                return
            if launcher and _COMMAND_FAILED not in ending:
                yield f"Error: {ending}"
                yield from (advice for words, advice in _ADVICE.items() if words in ending)
                return
            # That of the entry point; the last line of a traceback has another name before it.
            errors = re.findall(r"^\s*(Error: .*)$", log, re.MULTILINE) or re.findall(r"^.*Error: .*$", log, re.M)
            if errors:
                yield errors[-1].strip()
                return
    yield f"Its log is in the store: {_log_place(run, spec, stage)}"


def _log_place(run: Any, spec: Mapping[str, Any] | None, stage: str) -> str:
    """Returns the address of a stage's log; in brackets what the API does not tell."""
    spec = spec or {}
    root = getattr(run.runtime_config, "pipeline_root", None) or spec.get("defaultPipelineRoot") or "<root>"
    name = spec.get("pipelineInfo", {}).get("name", "<pipeline>")
    return f"{root.rstrip('/')}/{name}/{run.run_id}/{stage}/<id>/executor-logs-0"


def _waiting(run: Any, pods: Sequence[Any]) -> str | None:
    """Says since when a pod has not started, though the run shows RUNNING; None for a pod that has, or is new."""
    pending = [pod for pod in pods if pod.state == "PENDING"]
    if not pending or run.state in _ENDED:
        return None
    since = max(map(_began, pending))
    if datetime.datetime.now(datetime.timezone.utc) - since < _SOON:
        return None
    return (
        f"Its pod has not started, and nothing has moved since {_ago(since)}. An image that cannot be pulled, or a "
        "stage that fits on no node, waits for ever: kubectl get events --sort-by=.lastTimestamp says why."
    )


def _leaves(above: Sequence[Any], tasks: Sequence[Any]) -> list[Any]:
    """Returns the nodes without children below some, which are pods; of a node that waits for its pod, itself."""
    by_name = {name: task for task in tasks for name in (task.task_id, task.pod_name) if name}
    pods, seen, waiting = [], set(), list(above)
    while waiting:
        task = waiting.pop()
        if id(task) in seen:
            continue
        seen.add(id(task))
        children = [by_name.get(child.pod_name) or by_name.get(child.task_id) for child in task.child_tasks or ()]
        # A stage's node has the next stage's driver among its children.
        below = [child for child in children if child is not None and not child.display_name.endswith(_DRIVER)]
        waiting += below
        if not below:
            pods.append(task)
    return pods


def _began(task: Any) -> datetime.datetime:
    return task.start_time or task.create_time or _OLDEST


def _duration(driver: Any, own: Sequence[Any]) -> str:
    end = own[0].end_time if own else None
    return "" if end is None or _began(driver) == _OLDEST else f", {_minutes(end - _began(driver))}"


def _ago(since: datetime.datetime) -> str:
    return f"{since:%Y-%m-%d %H:%M:%S} ({_minutes(datetime.datetime.now(datetime.timezone.utc) - since)})"


def _minutes(time: datetime.timedelta) -> str:
    seconds = max(0, int(time.total_seconds()))
    return f"{seconds // 60} min {seconds % 60} s"
