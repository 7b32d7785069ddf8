"""How a component runs a module of `serving`: as a child process, for it imports none."""

from __future__ import annotations

import importlib.util
import os
import pathlib


def environment(module: str) -> dict[str, str]:
    """The child's: it finds the package `serving` where this process does, and leaves the accelerator to this process.

    The stages of a local run share one process, so after the Trainer an accelerator's memory is not free.

    Raises ModuleNotFoundError where there is no such module.
    """
    name = module.partition(".")[0]
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"There is no package {name}; install the project (pip install -e .).")
    root = pathlib.Path(next(iter(spec.submodule_search_locations))).parent
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
