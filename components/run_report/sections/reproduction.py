"""What it takes to repeat the run, and to tell whether the result is the same."""

from __future__ import annotations

import datetime
import re
import shlex
from typing import Any

from components.run_report import provenance
from components.run_report.run import Run
from trainer.task import GIVEN


def gather(run: Run) -> dict[str, Any]:
    """Gathers the command, and rows (what, value) of versions, hashes and the machine."""
    rows = [*provenance.versions().items(), *provenance.model_hashes(run.model_dir).items()]
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
    words = ["draw", "run", "--task", task.name]
    if task.source("recipe.steps") == GIVEN:
        words += ["--steps", str(task.recipe.steps)]
    if task.source("data.builder") == GIVEN:
        count = re.search(r"-(\d+)(:|$)", task.data.builder)
        words += ["--train-examples", count[1]] if count else []
    limit = run.evaluation[task.kind.limit]
    if limit != getattr(task.gate, task.kind.limit):
        words += [f"--{task.kind.limit.replace('_', '-')}", f"{limit:g}"]
    return shlex.join(words)
