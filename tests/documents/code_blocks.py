"""The blocks of code in the documents, and the one shell session that a document's console blocks are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "serving/config/*.md", "trainer/config/*.md")
    for path in ROOT.glob(pattern)
)

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
_REASON = re.compile(r"<!-- not run: ([^\n]+?) -->\n\Z")
_FIRST = re.compile(r"^<!-- first: (.+?) -->$", re.MULTILINE)
_END = {"|", "||", "&", "&&", ";", ">", ">>", "<", "--"}


class Block(NamedTuple):
    """A fenced block of code."""

    line: int
    language: str
    text: str
    reason: str | None
    """Why it is not run; None for one that is."""

    def commands(self) -> list[str]:
        """The commands of a console block, each with the lines that continue it."""
        commands: list[str] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                commands.append(line[2:])
            elif commands and commands[-1].endswith("\\"):
                commands[-1] += f"\n{line}"
        return commands


class Call(NamedTuple):
    """A call of `draw`, `make` or a module of Python in a command."""

    program: str
    words: list[str]


def blocks(document: str) -> list[Block]:
    """Returns the blocks of a document."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [
        Block(
            line=text.count("\n", 0, match.start()) + 1,
            language=match["language"],
            text=match["text"],
            reason=reason[1] if (reason := _REASON.search(text[: match.start()])) else None,
        )
        for match in _FENCE.finditer(text)
    ]


def calls(command: str) -> Iterator[Call]:
    """Yields what a command calls of ours."""
    words = shlex.split(command.replace("\\\n", " "), comments=True)
    while words:
        end = next((place for place, word in enumerate(words) if word in _END), len(words))
        part, words = words[:end], words[end + 1 :]
        while part and re.match(r"[A-Za-z_]+=", part[0]):
            part = part[1:]
        if not part:
            continue
        name = Path(part[0]).name
        if name == "python" and part[1:2] == ["-m"]:
            yield Call("python -m", part[2:])
        elif name in ("draw", "make"):
            yield Call(name, part[1:])


def session(document: str) -> str:
    """Returns the script that a reader's shell would be given: all blocks in order, but for those with a reason.

    What the reader of a page has done already is in a comment, `<!-- first: COMMAND -->`.
    """
    script = _FIRST.findall((ROOT / document).read_text(encoding="utf-8"))
    for block in blocks(document):
        if block.reason is not None:
            continue
        if block.language == "console":
            script.append(f"echo '== {document}, line {block.line}'")
            script += block.commands()
        elif block.language == "python":
            script.append(f"echo '== {document}, line {block.line}'")
            script.append(f"python - <<'END_OF_PYTHON'\n{block.text}END_OF_PYTHON")
    return "\n".join(script) + "\n"
