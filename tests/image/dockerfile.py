"""Reads a Dockerfile, as far as ours uses the language: what it does not know it refuses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

_KNOWN = ("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "USER", "WORKDIR")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A keyword in capitals and all that follows it, continued lines joined and comments gone."""

    keyword: str
    text: str


@dataclasses.dataclass(frozen=True)
class Stage:
    """FROM `base` AS `name`, and what follows."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]


def parse(text: str, arguments: Mapping[str, str] | None = None) -> dict[str, Stage]:
    """The stages by name; `arguments` take the place of the defaults of those ARGs that stand before the first FROM.

    Raises ValueError for what it does not know.
    """
    variables: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    for instruction in _instructions(text):
        if instruction.keyword == "FROM":
            match = re.fullmatch(r"(\S+) AS (\S+)", substitute(instruction.text, variables))
            if not match:
                raise ValueError(f"FROM {instruction.text}: a stage needs a name")
            stages[match[2]] = Stage(match[2], match[1], ())
        elif stages:
            name, last = stages.popitem()
            stages[name] = dataclasses.replace(last, instructions=(*last.instructions, instruction))
        else:
            name, _, default = instruction.text.partition("=")
            variables[name] = (arguments or {}).get(name, default)
    return stages


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """The text with $NAME and ${NAME} replaced; one that is not set is empty."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda match: variables.get(match[1] or match[2], ""), text)


def _instructions(text: str) -> list[Instruction]:
    # A comment may stand between continued lines too.
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = []
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if not line.strip():
            continue
        keyword, _, rest = line.partition(" ")
        if keyword not in _KNOWN or "<<" in rest:
            raise ValueError(f"{line}: only {', '.join(_KNOWN)} are known here, and no here-documents")
        found.append(Instruction(keyword, rest.strip()))
    return found
