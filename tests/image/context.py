"""The files of a build's context: those that .dockerignore lets through."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path


def files(root: Path) -> Iterator[Path]:
    """The paths below `root`, relative to it, of the files that its .dockerignore lets through."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [(_pattern(line.lstrip("!")), line.startswith("!")) for line in lines if line and not line.startswith("#")]

    def is_kept(path: Path) -> bool:
        # The last rule that speaks of it, or of a folder that it is in, decides.
        ancestry = [str(each) for each in (path, *path.parents)][:-1]
        said = [kept for pattern, kept in rules if any(map(pattern.fullmatch, ancestry))]
        return not said or said[-1]

    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        # As docker does it, not to walk through environments and histories.
        folders[:] = [
            name
            for name in folders
            if is_kept(here / name) or any(line.startswith(f"!{here / name}/") for line in lines)
        ]
        yield from (here / name for name in names if is_kept(here / name))


def _pattern(text: str) -> re.Pattern[str]:
    translated = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text.strip("/"))
    return re.compile("".join(translated.get(part) or re.escape(part) for part in parts))
