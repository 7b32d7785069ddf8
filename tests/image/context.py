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
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name).relative_to(root) for name in names):
            # The last rule that speaks of it, or of a folder that it is in, decides.
            ancestry = [str(each) for each in (path, *path.parents)]
            said = [kept for pattern, kept in rules if any(map(pattern.fullmatch, ancestry))]
            if not said or said[-1]:
                yield path


def _pattern(text: str) -> re.Pattern[str]:
    translated = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text.strip("/"))
    return re.compile("".join(translated.get(part) or re.escape(part) for part in parts))
