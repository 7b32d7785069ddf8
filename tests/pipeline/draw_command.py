"""Runs installed commands as a user does: in a process and a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

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
        shown, told = running.communicate()
    print(shown, told)  # what pytest shows of a test that fails
    return subprocess.CompletedProcess(running.args, running.returncode, shown, told)
