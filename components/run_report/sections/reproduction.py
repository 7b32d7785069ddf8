"""What it takes to make the run again, and to tell whether it came out the same."""

from __future__ import annotations

import datetime
import re
import shlex
from html import escape

from components.run_report import markup, provenance
from components.run_report.run import Run
from trainer.task import GIVEN, ClassifyingTask


def body(run: Run) -> str:
    """The command, versions, hashes, the machine and the whole task."""
    task = run.task
    command = f'<pre tabindex="0">{escape(_command(run))}</pre>'
    rows = [*provenance.versions().items(), *provenance.model_hashes(run.model_dir).items()]
    rows += [(f"examples of {split!r}, SHA-256", provenance.sha256(run.files(split))) for split in task.data.splits]
    rows += provenance.machine().items()
    if run.curves.finished is not None:
        finished = datetime.datetime.fromtimestamp(run.curves.finished, datetime.timezone.utc)
        rows.append(("training ended", f"{finished:%Y-%m-%d %H:%M:%S} UTC"))
    return (
        markup.paragraph("The same source, versions, data and kind of processor give the same weights, bit for bit.")
        + command
        + markup.table("Versions, hashes and the machine that wrote this page", ("what", "value"), rows, kind="values")
        + markup.details("The task as JSON", f'<pre tabindex="0">{escape(task.to_json())}</pre>')
    )


def _command(run: Run) -> str:
    """With the options that are not the task's own."""
    task, found = run.task, run.evaluation
    words = ["draw", "run", "--task", task.name]
    if task.source("recipe.steps") == GIVEN:
        words += ["--steps", str(task.recipe.steps)]
    if task.source("data.builder") == GIVEN:
        counted = re.search(r"-(\d+)(:|$)", task.data.builder)
        words += ["--train-examples", counted[1]] if counted else []
    if isinstance(task, ClassifyingTask):
        if found["max_error"] != task.gate.max_error:
            words += ["--max-error", f"{found['max_error']:g}"]
    elif found["max_nll_bound"] != task.gate.max_nll_bound:
        words += ["--max-nll-bound", f"{found['max_nll_bound']:g}"]
    return shlex.join(words)
