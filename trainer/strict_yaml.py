"""Reads YAML that a person wrote: plain data, each key once, a mistake told in one short line with its place."""

from __future__ import annotations

import reprlib
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1_000_000
MAX_VALUES = 10_000
"""Values with every alias written out: a few hundred bytes of aliases of aliases stand for gigabytes."""

MAX_DEPTH = 32
"""Nested lists and mappings; Python's own stack ends a few hundred deeper, in a RecursionError."""


def read(path: Path, what: str) -> Any:
    """Reads the one document of a file; None for an empty file.

    Raises ValueError with the path and the line: for what is no YAML, repeated keys, tags that make objects, and a
    file that is larger or deeper than the bounds above. `what` says what the file is to be, as "the cluster's file".
    """
    return _load(_bytes(path, what), str(path))[1]


def read_node(path: Path, what: str) -> yaml.Node | None:
    """Reads a file as `read` does, but returns nodes, which know their lines and their text as written."""
    data = _bytes(path, what)
    if path.suffix == ".json":
        # JSON may be indented with tabs and YAML may not; inside of JSON's strings there are none.
        data = data.replace(b"\t", b" ")
    return _load(data, str(path))[0]


def parse_node(text: str, place: str) -> yaml.Node | None:
    """Parses one value, as `read_node` does; an error names `place`."""
    return _load(text.encode(), place)[0]


def _bytes(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"Cannot read {what} {path}: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path} is longer than {MAX_BYTES:,} bytes, so it is not {what}.")
    return data


def _load(data: bytes, place: str) -> tuple[yaml.Node | None, Any]:
    """Parses to nodes and to values, which checks the nodes."""
    loader = None
    try:
        loader = _StrictLoader(data)
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = ", ".join(filter(None, (error.context, error.problem)))
        if r"'\t'" in problem:
            problem += "; indent with spaces"
        raise ValueError(f"{place} is no YAML: {line}{problem}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{place} is no YAML: {' '.join(str(error).split())}.") from error
    finally:
        if loader is not None:
            loader.dispose()


def shown(value: object) -> str:
    """Writes a value for an error message, in 100 characters or fewer."""
    short = reprlib.Repr()
    short.maxlevel = 2
    short.maxstring = short.maxother = short.maxlong = 60
    return shortened(short.repr(value))


def shortened(text: str) -> str:
    """Cuts a text to 100 characters, three of them dots."""
    return text if len(text) <= 100 else f"{text[:97]}..."


class _StrictLoader(yaml.SafeLoader):
    """Loads plain data, each key once, within bounds; raises MarkedYAMLError for what it does not take."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if self._depth == MAX_DEPTH:
            raise _error(f"lists and mappings are nested more than {MAX_DEPTH} deep", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent) and node not in self._sizes:
            raise _error(f"the alias *{event.anchor} stands for a value that holds it", event)
        if node is not None and node not in self._sizes:
            self._sizes[node] = 1 + sum(self._sizes[part] for part in _parts(node))
            if self._sizes[node] > MAX_VALUES:
                raise _error(f"with its aliases written out, this is more than {MAX_VALUES:,} values", event)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: dict[Hashable, yaml.Node] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in keys:
                first = keys[key].start_mark.line + 1
                raise _error(f"the key {shown(key)} is there twice, first in line {first}", key_node)
            if isinstance(key, Hashable):
                keys[key] = key_node
        return super().construct_mapping(node, deep=deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            # PyYAML has none of its own for 2001-99-99, !!bool x, !!timestamp x, or 5,000 digits.
            value = shown(node.value) if isinstance(node, yaml.ScalarNode) else "this"
            raise _error(f"{value} is no {node.tag.rpartition(':')[2]}", node) from error


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _error(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)
