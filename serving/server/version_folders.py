"""The versions that lie in a model's folder: which there are, and what is there instead where there are none."""

from __future__ import annotations

import os
import pathlib

from serving.saved_model import GRAPH_FILE

_NAMES_SHOWN = 5


def find_versions(base_path: pathlib.Path) -> dict[int, pathlib.Path]:
    """Finds the versions in a folder, or the one that the folder itself is, by number.

    The paths have no links, so that a link that leads elsewhere now gives another path.

    Raises:
      OSError: where the folder cannot be read.
    """
    if (base_path / GRAPH_FILE).is_file():
        only = pathlib.Path(os.path.realpath(base_path))
        return {int(only.name): only} if _is_number(only.name) else {}
    # The longest first: a folder may be named 0007, and 7 goes before it.
    names = sorted(filter(_is_number, os.listdir(base_path)), key=len, reverse=True)
    return {
        int(name): pathlib.Path(os.path.realpath(base_path / name))
        for name in names
        # Without its graph it may be half copied.
        if _has_graph(base_path / name)
    }


def describe_missing(base_path: pathlib.Path) -> str:
    """Says why there is no version in a folder. Raises as `find_versions`."""
    if (base_path / GRAPH_FILE).is_file():
        return not_a_number(pathlib.Path(os.path.realpath(base_path)))
    names = sorted(name for name in os.listdir(base_path) if not name.startswith("."))
    if empty := [name for name in names if _is_number(name)]:
        return f"{base_path / empty[0]} has no {GRAPH_FILE} yet."
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    seen = f"only {', '.join(names[:_NAMES_SHOWN])}{more}" if names else "nothing"
    return f"{base_path} has no folder named by a version's number, such as {base_path / '1'}; it has {seen}."


def not_a_number(version: pathlib.Path) -> str:
    """Says that a SavedModel's folder is not named by a number."""
    return (
        f"{version} is a SavedModel, but its name is no version number: put it into a folder that is named by one, "
        f"such as {version / '1'}, and name the folder around that."
    )


def _has_graph(folder: pathlib.Path) -> bool:
    try:
        return (folder / GRAPH_FILE).is_file()
    except OSError:
        # One that cannot be read must not hide the others: the attempt to load it says what is wrong.
        return True


def _is_number(name: str) -> bool:
    # TF Serving's versions are int64.
    return name.isascii() and name.isdigit() and int(name) < 2**63
