"""Runs installed commands as a user does: in a process and a folder of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from tfx.orchestration import metadata

from pipeline.cli import run_command

BIN = Path(sys.executable).parent


def start(
    program: str, *arguments: str, folder: Path, variables: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Starts `program` of this environment; of the variables that `draw run` reads it sees none but those given."""
    read = {option.envvar for option in run_command.run.params}
    environment = {name: value for name, value in os.environ.items() if name not in read}
    # The tfx command calls pip, which it looks for in PATH.
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    return subprocess.Popen(
        [str(BIN / program), *arguments],
        cwd=folder,
        env={**environment, **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(
    program: str, *arguments: str, folder: Path, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """As `start`, and waits for its end."""
    with start(program, *arguments, folder=folder, variables=variables) as running:
        output, errors = running.communicate()
    print(output, errors)  # pytest shows them if the test fails
    return subprocess.CompletedProcess(running.args, running.returncode, output, errors)


def closing_line(finished: subprocess.CompletedProcess[str], name: str) -> str:
    """Returns what the closing lines of `draw run` say after `name`."""
    (line,) = re.findall(rf"^{name} +(.*)$", finished.stdout, re.MULTILINE)
    return str(line)


def stage_states(folder: Path) -> list[set[int]]:
    """Returns the states of the stages, run by run, but for the baseline, which is looked up every time."""
    store = MetadataStore(metadata.sqlite_metadata_connection_config(str(folder / "metadata.db")))
    runs = sorted(store.get_contexts_by_type("pipeline_run"), key=lambda run: run.id)
    resolver = store.get_execution_type("tfx.dsl.components.common.resolver.Resolver").id
    return [
        {
            execution.last_known_state
            for execution in store.get_executions_by_context(run.id)
            if execution.type_id != resolver
        }
        for run in runs
    ]
