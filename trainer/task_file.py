"""Reads a task from a file: YAML or JSON, the differences from another task, each value with where it was given."""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from trainer import field_values, strict_yaml, tasks
from trainer.task import (
    OURS,
    WITH_SET,
    Attention,
    ClassifyingTask,
    DataSource,
    ErrorGate,
    Gate,
    GenerativeTask,
    ImageFiles,
    NoAttention,
    Recipe,
    Task,
)

SUFFIXES = (".yaml", ".yml", ".json")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
_GROUPS = ("data", "recipe", "gate")
_SCHEMA_SUFFIX = ".schema.pbtxt"


def load(text: str, settings: Sequence[str] = ()) -> Task:
    """Returns the built-in task of that name, or reads the file, and then sets values as `path=value`.

    Raises ValueError for what cannot be: file, line, field, what it holds and what is allowed, a line for each mistake.
    """
    if text in tasks.NAMES and not settings:
        return tasks.get(text)
    given = _with_settings(_from_text(text, seen=()), settings)
    return given.build()


def check_name(name: str) -> None:
    """Raises ValueError if a task of somebody's own cannot have that name."""
    if not _NAME.fullmatch(name):
        better = re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-")[:60]
        raise ValueError(
            f"name is {name!r}: expected small letters, digits, - and _, 60 at most, for it names folders and the "
            f"served model{f'; {better} would do' if better else ''}."
        )
    if name in tasks.NAMES:
        raise ValueError(
            f"name is {name}, which is a built-in task's: expected another, so that their models are not taken for "
            "each other."
        )


class _Value(NamedTuple):
    """A value as it was written, and where."""

    node: yaml.Node
    place: str
    """Such as `parts.yaml, line 7`, for messages."""
    source: str
    """Such as `given in parts.yaml`, for whoever reads the task."""
    folder: Path
    """What a relative path in it is relative to."""


@dataclasses.dataclass(frozen=True)
class _Given:
    """A task that is not checked yet: what is inherited, and what was written, by dotted path."""

    base: Task | None
    is_base: bool
    """Whether this is the base itself, with other values, and not a task that is like it."""
    place: str
    values: Mapping[str, _Value]
    defaults: Mapping[str, tuple[Any, str]]
    """Values, with their sources, of what was not written but follows from the file itself."""

    def build(self) -> Task:
        return _Builder(self).task()


def _from_text(text: str, seen: tuple[Path, ...]) -> _Given:
    if text in tasks.NAMES:
        return _Given(tasks.get(text), True, f"the task {text}", {}, {})
    path = Path(text).expanduser()
    if path.suffix not in SUFFIXES and not path.is_file():
        raise ValueError(_no_task(text))
    if path.resolve() in seen:
        raise ValueError(f"{path} is like itself: the last of the files that name each other must be complete.")
    return _from_file(path, (*seen, path.resolve()))


def _no_task(text: str) -> str:
    files = [f"{text}{suffix}" for suffix in SUFFIXES if Path(f"{text}{suffix}").expanduser().is_file()]
    near = files or difflib.get_close_matches(text, tasks.NAMES, n=2)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return (
        f"There is no task {text!r}.{hint} The tasks are: {', '.join(tasks.NAMES)}; or give a file of your own that "
        "ends in .yaml or .json, which `draw init` writes."
    )


def _from_file(path: Path, seen: tuple[Path, ...]) -> _Given:
    node = strict_yaml.read_node(path, "the task's file")
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{path} holds no task: expected lines such as `like: digits` and `recipe:`.")
    written = {
        name: _Value(part, f"{path}, line {part.start_mark.line + 1}", f"given in {path.name}", path.parent)
        for name, part in _leaves(node)
    }
    # An exported task says of each value where it came from.
    for name in [name for name in written if name.startswith("sources.")]:
        source, field = str(written.pop(name).node.value), name.removeprefix("sources.")
        if field in written:
            written[field] = written[field]._replace(source=source)
    defaults: dict[str, tuple[Any, str]] = {"name": (path.stem, OURS)}
    base: Task | None = None
    like = written.pop("like", None)
    if like is not None:
        if not isinstance(like.node, yaml.ScalarNode) or not like.node.value:
            shown = field_values.shown(like.node)
            raise ValueError(f"{like.place}: like is {shown}: expected the name of one task, or a file.")
        parent = like.node.value
        is_file = parent not in tasks.NAMES and Path(parent).suffix in SUFFIXES
        try:
            base = _from_text(str(path.parent / Path(parent).expanduser()) if is_file else parent, seen).build()
        except ValueError as error:
            raise ValueError(f"{like.place}: like is {parent}: {error}") from error
    schema = path.with_name(path.stem + _SCHEMA_SUFFIX)
    if schema.is_file():
        defaults["schema"] = (schema.read_text(encoding="utf-8"), f"given in {schema.name}")
    return _Given(base, False, str(path), written, defaults)


def _with_settings(given: _Given, settings: Sequence[str]) -> _Given:
    values = dict(given.values)
    seen: set[str] = set()
    for setting in settings:
        path, separator, text = setting.partition("=")
        path, place = path.strip(), f"--set {setting}"
        if not separator or not path:
            raise ValueError(f"{place}: expected PATH=VALUE, such as recipe.steps=20000.")
        if path in seen:
            raise ValueError(f"{place}: {path} is set twice.")
        seen.add(path)
        node = _set_node(text.strip(), place)
        # What was written about the parts of the whole, or about the whole of this part, is overridden.
        values = {name: value for name, value in values.items() if not _overlap(name, path)}
        values |= {name: _Value(part, place, WITH_SET, Path()) for name, part in _leaves(node, path)}
    return dataclasses.replace(given, values=values)


def _set_node(text: str, place: str) -> yaml.Node:
    """Parses lists, groups and what is in quotes; anything else is the text itself, colons and all."""
    is_yaml = text.startswith(("[", "{", '"', "'"))
    node = strict_yaml.parse_node(text, place) if is_yaml else None
    return yaml.ScalarNode("tag:yaml.org,2002:str", text) if node is None else node


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _leaves(node: yaml.Node, prefix: str = "") -> Iterator[tuple[str, yaml.Node]]:
    """Yields the dotted path of each value that is no mapping."""
    if isinstance(node, yaml.MappingNode):
        for key, part in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else "?"
            yield from _leaves(part, f"{prefix}.{name}" if prefix else name)
    # A group all of whose values are comments is empty, which is no mistake.
    elif prefix not in _GROUPS or not isinstance(node, yaml.ScalarNode) or node.value:
        yield prefix, node


class _Builder:
    """Puts a task together, and collects what is wrong with it."""

    def __init__(self, given: _Given) -> None:
        self._given = given
        self._base = given.base
        self._mistakes: list[str] = []
        base = {} if given.base is None else _task_values(given.base)
        base_sources = {} if given.base is None else {path: self._inherited(path) for path in base}
        self._groups = self._choose_groups()
        for group in ("data", "attention", "gate"):
            if self._replaces(group):
                base = {path: value for path, value in base.items() if not _overlap(path, group)}
        # A threshold is one of certain images.
        if self._has_other_images():
            limit = f"gate.{self._groups[''].kind.limit}"
            base[limit], base_sources[limit] = None, "none: nobody knows a threshold for these images yet"
        self._values: dict[str, Any] = base
        self._sources: dict[str, str] = {path: base_sources[path] for path in base}
        for path, (value, source) in given.defaults.items():
            self._values[path], self._sources[path] = value, source

    def task(self) -> Task:
        """Converts all values, then constructs."""
        hints = self._hints()
        for path, value in self._given.values.items():
            self._convert(path, value, hints)
        self._stop_at_mistakes()
        self._follow()
        for path in sorted(hints.keys() - self._values.keys() - {"attention"}):
            self._missing(path)
        self._stop_at_mistakes()
        groups = {group: self._construct(kind, group) for group, kind in self._groups.items() if group}
        self._stop_at_mistakes()
        own = {path: value for path, value in self._values.items() if "." not in path and path != "attention"}
        sources = {path: source for path, source in self._sources.items() if path not in ("name", "title")}
        if self._groups.get("attention") is NoAttention:
            sources.setdefault("attention", OURS)
        task = self._attempt(lambda: self._groups[""](**own, **groups, sources=sources))
        self._stop_at_mistakes()
        return task

    def _inherited(self, path: str) -> str:
        assert self._base is not None
        source = self._base.source(path)
        return source if self._given.is_base else f"like {self._base.name}: {source}"

    def _choose_groups(self) -> dict[str, Any]:
        """Decides by the fields that are given what kind of task, of data and of attention this is."""
        given, base = self._given.values, self._base
        classifies = isinstance(base, ClassifyingTask) if base is not None else "classes" in given
        groups: dict[str, Any] = {"": ClassifyingTask if classifies else GenerativeTask, "recipe": Recipe}
        groups["gate"] = ErrorGate if classifies else Gate
        if "data.images" in given and "data.builder" in given:
            raise ValueError(
                f"{given['data.images'].place}: data.images and data.builder are both given: expected data.images for "
                "images of your own or tfds:NAME, or data.builder for a data set that has the task's shape."
            )
        groups["data"] = DataSource if base is None else type(base.data)
        if "data.images" in given or (base is None and "data.builder" not in given):
            groups["data"] = ImageFiles
        if "data.builder" in given:
            groups["data"] = DataSource
        if not classifies:
            groups["attention"] = type(base.attention) if isinstance(base, GenerativeTask) else Attention
            if "attention" in given:
                groups["attention"] = NoAttention
            if "attention.read" in given or "attention.write" in given:
                groups["attention"] = Attention
        return groups

    def _replaces(self, group: str) -> bool:
        old = getattr(self._base, group, None)
        return old is not None and group in self._groups and type(old) is not self._groups[group]

    def _has_other_images(self) -> bool:
        return self._base is not None and bool({"data.images", "data.builder"} & self._given.values.keys())

    def _hints(self) -> dict[str, Any]:
        """The type of each path that this task has."""
        hints: dict[str, Any] = {}
        for group, kind in self._groups.items():
            types_of = typing.get_type_hints(kind)
            for field in dataclasses.fields(kind):
                path = f"{group}.{field.name}" if group else field.name
                if path != "sources" and path not in self._groups:
                    hints[path] = types_of[field.name]
        if self._groups.get("attention") is NoAttention:
            hints["attention"] = typing.Literal["none"]
        return hints

    def _convert(self, path: str, value: _Value, hints: Mapping[str, Any]) -> None:
        if path not in hints:
            self._mistakes.append(f"{value.place}: {self._unknown(path, hints)}")
            return
        try:
            converted = field_values.convert(hints[path], value.node)
        except ValueError as error:
            self._mistakes.append(f"{value.place}: {path} is {field_values.shown(value.node)}: expected {error}.")
            return
        if path == "data.images" and converted.strip():  # nothing would be the task file's own folder
            converted = absolute_address(converted, value.folder)
        self._values[path], self._sources[path] = converted, value.source

    def _unknown(self, path: str, hints: Iterable[str]) -> str:
        known = sorted({*hints, *(["attention"] if "attention" in self._groups else [])})
        inside = [name for name in known if name.startswith(f"{path}.")]
        if inside:
            return f"{path} is no value but a group: expected {', '.join(inside)}."
        if path in _ALL_PATHS:
            return f"{path} is for {_ALL_PATHS[path]}, which this task is not. It has {', '.join(known)}."
        leaf = path.rpartition(".")[2]
        near = [name for name in known if name.rpartition(".")[2] == leaf]
        near += [name for name in difflib.get_close_matches(path, known, n=2, cutoff=0.8) if name not in near]
        if not near:
            by_leaf = {name.rpartition(".")[2]: name for name in known}
            near = [by_leaf[name] for name in difflib.get_close_matches(leaf, by_leaf, n=3)]
        meant = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(known)}."
        return f"a task has no {strict_yaml.shown(path)[1:-1]}: {meant}"

    def _follow(self) -> None:
        """Fills in what follows from other values, where nothing was written about it."""
        given = self._given.values
        if not self._given.is_base and "title" not in given:
            self._values["title"] = self._values["name"]
        if not self._given.is_base or "name" in given:
            self._check_name()
        names = self._values.get("data.class_names")
        if self._groups[""] is ClassifyingTask and names and "classes" not in given:
            self._values["classes"], self._sources["classes"] = len(names), "counted in data.class_names"
        is_classifier = self._groups[""] is ClassifyingTask
        if is_classifier and self._groups["data"] is ImageFiles and "data.has_labels" not in given:
            self._values["data.has_labels"], self._sources["data.has_labels"] = True, "a classifier learns from labels"
        steps, warmup = given.get("recipe.steps"), given.get("recipe.warmup_steps")
        if steps is not None and (warmup is None or (steps.source == WITH_SET and warmup.source != WITH_SET)):
            shorter = min(self._values.get("recipe.warmup_steps", 0), self._values["recipe.steps"] // 10)
            if shorter != self._values.get("recipe.warmup_steps", 0):
                self._values["recipe.warmup_steps"] = shorter
                self._sources["recipe.warmup_steps"] = "follows recipe.steps"
        rate, final = given.get("recipe.learning_rate"), given.get("recipe.final_learning_rate")
        if rate is not None and final is None and "recipe.final_learning_rate" in self._values:
            lowest = min(self._values["recipe.final_learning_rate"], self._values["recipe.learning_rate"])
            if lowest != self._values["recipe.final_learning_rate"]:
                self._values["recipe.final_learning_rate"] = lowest
                self._sources["recipe.final_learning_rate"] = "follows recipe.learning_rate"

    def _check_name(self) -> None:
        name, written = self._values["name"], self._given.values.get("name")
        place = written.place if written else f"{self._given.place} (it has no `name:`, so the file's is taken)"
        try:
            check_name(name)
        except ValueError as error:
            self._mistakes.append(f"{place}: {error}")

    def _missing(self, path: str) -> None:
        group, _, name = path.rpartition(".")
        field = next(field for field in dataclasses.fields(self._groups[group]) if field.name == name)
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if has_default:
            return
        like = "" if self._base is not None else "; or inherit the rest, with a line such as `like: digits`"
        self._mistakes.append(f"{self._given.place}: {path} is missing: give it{like}.")

    def _construct(self, kind: Any, group: str) -> Any:
        prefix = f"{group}."
        values = {path.removeprefix(prefix): value for path, value in self._values.items() if path.startswith(prefix)}
        return self._attempt(lambda: kind(**values))

    def _attempt(self, construct: Any) -> Any:
        """Constructs; a message of the constructor begins with the path of a value, whose place is put before it."""
        try:
            return construct()
        except ValueError as error:
            message = str(error).removeprefix(f"{self._values.get('name')}: ")
            path = re.match(r"[\w.]*", message)
            value = self._given.values.get(path[0] if path else "")
            source = f" ({self._sources[path[0]]})" if path and value is None and path[0] in self._sources else ""
            self._mistakes.append(f"{value.place if value else self._given.place + source}: {message}")
            return None

    def _stop_at_mistakes(self) -> None:
        if self._mistakes:
            raise ValueError("\n".join(dict.fromkeys(self._mistakes)))


def _task_values(task: Task) -> dict[str, Any]:
    """The values of a task as its constructors take them, by dotted path."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        if isinstance(value, NoAttention):
            values[field.name] = "none"
        elif dataclasses.is_dataclass(value):
            values |= {f"{field.name}.{part.name}": getattr(value, part.name) for part in dataclasses.fields(value)}
        elif field.name not in ("sources",):
            values[field.name] = value
    return values


def absolute_address(address: str, folder: Path) -> str:
    """Makes the path of images absolute, for the stages may run in another folder; other addresses stay."""
    if "://" in address or address.startswith("tfds:"):
        return address
    # Not resolve(): a pattern may hold anything, and links are the user's to follow.
    path = (folder.absolute() / Path(address).expanduser()).as_posix()
    return path + "/" if address.endswith("/") and not path.endswith("/") else path


def _all_paths() -> dict[str, str]:
    """What kind of task each path belongs to, of those that not every task has."""
    kinds: dict[str, list[tuple[str, Any]]] = {
        "a generative task": [("", GenerativeTask), ("gate.", Gate), ("attention.", Attention)],
        "a classifier": [("", ClassifyingTask), ("gate.", ErrorGate)],
        "one of images of your own (data.images)": [("data.", ImageFiles)],
        "one of a TFDS data set (data.builder)": [("data.", DataSource)],
    }
    owners: dict[str, list[str]] = {}
    for owner, parts in kinds.items():
        for prefix, kind in parts:
            for field in dataclasses.fields(kind):
                owners.setdefault(prefix + field.name, []).append(owner)
    return {path: owner[0] for path, owner in owners.items() if len(owner) == 1}


_ALL_PATHS = _all_paths()
