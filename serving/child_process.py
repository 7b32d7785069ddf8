"""Python processes that are started beside this one, which take no module from the folder they happen to run in."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

# `python -m` and `python -c` put the current folder first on sys.path, where a file numpy.py would be taken for NumPy.
# -P forbids that from Python 3.11 on alone, and -I would drop PYTHONPATH too. `sys` is built in: no file is looked for.
_RUN_MODULE = (
    "import sys; sys.path[:] = [place for place in sys.path if place]; import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_ROOT = Path(__file__).resolve().parents[1]


def safe_command(module: str, *arguments: str) -> list[str]:
    """Returns the command that runs a module as `python -m` does, without the current folder on its path."""
    return [sys.executable, "-c", _RUN_MODULE, module, *arguments]


def child_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment of a child that finds packages where this process does, with some variables set anew."""
    # "" stands for the current folder, in this process and in PYTHONPATH.
    places = dict.fromkeys(place for place in (*sys.path, str(_ROOT)) if place)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places), "PYTHONSAFEPATH": "1", **(variables or {})}
