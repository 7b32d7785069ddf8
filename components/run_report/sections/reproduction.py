"""What it takes to repeat the run, and to tell whether the result is the same."""

from __future__ import annotations

import datetime
import json
import re
import shlex
from typing import Any

from components.run_report import provenance
from components.run_report.run import Run, full_path
from trainer import tasks
from trainer.task import GIVEN, WITH_SET


def gather(run: Run) -> dict[str, Any]:
    """Gathers the command, and rows (what, value) of versions, hashes and the machine."""
    rows = [("Kubeflow Pipelines run", run.run_id)] if run.run_id else []
    rows += [*provenance.versions().items(), *provenance.model_hashes(run.model_dir).items()]
    for split in run.task.data.splits:
        rows.append((f"examples of {split!r}, SHA-256", provenance.sha256(run.files(split))))
    rows += provenance.machine().items()
    if run.curves.finished is not None:
        finished = datetime.datetime.fromtimestamp(run.curves.finished, datetime.timezone.utc)
        rows.append(("training ended", f"{finished:%Y-%m-%d %H:%M:%S} UTC"))
    return {"command": _command(run), "rows": rows}


def _command(run: Run) -> str:
    """Returns the command, with the options that differ from the task's own values."""
    task = run.task
    limit = run.evaluation[task.kind.limit]
    options = []
    if limit is not None and limit != getattr(task.gate, task.kind.limit):
        options = [f"--{task.kind.limit.replace('_', '-')}", f"{limit:g}"]
    if run.init_from is not None:
        options += ["--init-from", run.init_from]
    if task.name not in tasks.NAMES:
        # What is written beside the model is a task file too.
        return shlex.join(["draw", "run", "--task", full_path(run.task_file), *options])
    words = ["draw", "run", "--task", task.name]
    values = dict(task.leaves())
    for path in sorted(path for path, source in task.sources.items() if source == WITH_SET):
        words += ["--set", f"{path}={json.dumps(values[path])}"]
    if task.source("recipe.steps") == GIVEN:
        words += ["--steps", str(task.recipe.steps)]
    if task.source("data.builder") == GIVEN:
        count = re.search(r"-(\d+)(:|$)", task.data.address)
        words += ["--train-examples", count[1]] if count else []
    return shlex.join([*words, *options])
