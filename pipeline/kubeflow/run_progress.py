"""What a run of Kubeflow Pipelines 2.x has done, by stage, as its API tells it: states and logs, and no errors."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

ReadLog = Callable[[str], "str | None"]
"""Reads the log of a node by its name; None where there is none."""

_DRIVER = "-driver"
_OLDEST = datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)


def is_terminated(run: Any) -> bool:
    """Whether a user stopped the run, which Kubeflow Pipelines shows as FAILED then."""
    return any(status.state in ("CANCELING", "CANCELED") for status in run.state_history or ())


def lines(run: Any, read_log: ReadLog) -> Iterator[str]:
    """Yields a line for each stage that began, in that order, and more for one that has not ended well.

    Args:
        run: a V2beta1Run. Its tasks are Argo's nodes: `X-driver` and `X` of each stage, and below `X` its attempts.
        read_log: for the log of a failed stage.
    """
    tasks = list((run.run_details and run.run_details.task_details) or ())
    names = {str(task.display_name) for task in tasks}
    drivers = [task for task in tasks if str(task.display_name).endswith(_DRIVER)]
    for driver in sorted(drivers, key=_began):
        stage = driver.display_name.removesuffix(_DRIVER)
        own = [task for task in tasks if task.display_name == stage]
        pods = _leaves(own, tasks) if stage in names else [driver]
        state = own[0].state if own else driver.state
        yield f"{stage:24} {state}{_duration(driver, own)}"
        if state == "FAILED" and not is_terminated(run):
            yield f"    {_reason(run, stage, pods, read_log)}"
        waiting = [pod for pod in pods if pod.state == "PENDING"]
        if waiting and run.state in ("RUNNING", "PENDING"):
            since = max(map(_began, waiting))
            yield (
                f"    Its pod has not started, and nothing has moved since {since:%Y-%m-%d %H:%M:%S} "
                f"({_minutes(datetime.datetime.now(datetime.timezone.utc) - since)}). An image that cannot be pulled, "
                "or a stage that fits on no node, waits for ever: kubectl get events --sort-by=.lastTimestamp says why."
            )


def _reason(run: Any, stage: str, pods: list[Any], read_log: ReadLog) -> str:
    """Returns the last error in the log of the last attempt, or where the log lies."""
    for pod in sorted(pods, key=_began, reverse=True):
        if pod.state != "FAILED":
            continue
        errors = [line for line in (read_log(pod.pod_name or pod.task_id) or "").splitlines() if "Error:" in line]
        if errors:
            return errors[-1].strip()
    return f"Its log is in the store: <root>/<pipeline>/{run.run_id}/{stage}/<id>/executor-logs-0"


def _leaves(above: list[Any], tasks: list[Any]) -> list[Any]:
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


def _duration(driver: Any, own: list[Any]) -> str:
    end = own[0].end_time if own else None
    return "" if end is None or _began(driver) == _OLDEST else f", {_minutes(end - _began(driver))}"


def _minutes(time: datetime.timedelta) -> str:
    seconds = max(0, int(time.total_seconds()))
    return f"{seconds // 60} min {seconds % 60} s"
