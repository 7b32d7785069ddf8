"""Writes a task as YAML that a person goes on with: each value with a comment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from trainer.task import Task

_WIDTH = 42
"""Column in which comments begin."""


def whole_task(task: Task, *, like: str | None) -> str:
    """Writes every value of a task with its source; `like` names a task that others are to inherit from."""
    values = {path: value for path, value in task.leaves() if path != "schema" or value is not None}
    comments = {path: task.source(path) for path in values}
    head = {"name": task.name, "title": task.title} if like is None else {"like": like}
    return lines({**head, **values}, comments)


def lines(values: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """Writes values, by dotted path, each on a line with its comment; that of a group stands above it."""
    text: list[str] = []
    written = ""
    for path in sorted(values, key=lambda path: _order(path, list(values))):
        group, _, name = path.rpartition(".")
        if group != written:
            text += ["", *(f"# {line}" for line in comments.get(group, "").splitlines()), f"{group}:"]
            written = group
        line = f"{'  ' if group else ''}{name}: {_text(values[path])}"
        comment = comments.get(path)
        text.append(f"{line:{_WIDTH}}  # {comment}" if comment else line)
    return "\n".join(text) + "\n"


def _order(path: str, paths: list[str]) -> tuple[int, int]:
    """Values of no group come first, and a group's values together."""
    group = path.rpartition(".")[0]
    groups = [name.rpartition(".")[0] for name in paths]
    return (-1 if not group else groups.index(group)), paths.index(path)


def _text(value: Any) -> str:
    if value is None:
        return "none"
    text: str = yaml.safe_dump(_plain(value), default_flow_style=True, width=float("inf"), allow_unicode=True)
    text = text.removesuffix("...\n").rstrip("\n")
    # A text that reads as "nothing" has to be told from it.
    return f'"{text}"' if isinstance(value, str) and text.lower() == "none" else text


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value
