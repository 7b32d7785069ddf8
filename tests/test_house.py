"""The rules of the house that no linter knows: names, circles, what `draw --help` imports, and paths in documents."""

from __future__ import annotations

import collections
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from tests.image import dockerfile

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("benchmarks", "components", "pipeline", "serving", "trainer")
PRODUCT = (*PACKAGES, "examples", "pretrained", "requirements")

# What Python, pytest and TFX call these wherever they stand.
CONVENTIONAL = {"__init__.py", "__main__.py", "conftest.py", "component.py", "executor.py"}


def _files(*folders: str, suffixes: tuple[str, ...]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in suffixes and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT)


@pytest.mark.parametrize("folders", [PRODUCT, ("tests",)], ids=["product", "tests"])
def test_no_two_files_share_a_name(folders: tuple[str, ...]) -> None:
    """A stranger finds a thing by its file's name alone."""
    namesakes = collections.defaultdict(list)
    for path in _files(*folders, suffixes=(".py", ".js", ".css", ".html")):
        if path.name not in CONVENTIONAL:
            namesakes[path.name].append(str(path))
    assert len(namesakes) > 50
    assert [paths for paths in namesakes.values() if len(paths) > 1] == []


def test_no_module_imports_itself_through_others() -> None:
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    assert len(graph.modules) > 100
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which shows the circle


def test_help_imports_nothing_but_click() -> None:
    """So that it takes less than 0.3 s: TensorFlow and TFX alone are ten seconds."""
    code = """
import sys
before = set(sys.modules)
from pipeline.cli.main import main
main(["--help"], standalone_mode=False)
imported = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(*sorted(imported))
"""
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert "Usage: " in output
    assert set(output.splitlines()[-1].split()) <= {"click", *PACKAGES}


DOCUMENTS = [
    *_files(*PRODUCT, "docs", "tests", suffixes=(".md", ".sh", ".yaml")),
    *map(
        Path,
        (
            "README.md",
            "BUILD.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
            "Makefile",
            "pyproject.toml",
            ".dockerignore",
            ".ci/run",
        ),
    ),
]
FOLDERS = "|".join((*PACKAGES, "pretrained", "requirements", "tests"))
NAMED = re.compile(rf"(?<![\w./*-])(?:{FOLDERS})/[\w./-]*\w")


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_a_path_in_a_document_leads_somewhere(document: Path) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    absent = [name for name in NAMED.findall(text) if "TASK" not in name and not list(ROOT.glob(f"{name}*"))]
    assert absent == []


def test_the_tests_of_the_image_are_there() -> None:
    text = (ROOT / "tests/image/Dockerfile").read_text(encoding="utf-8")
    (command,) = (each.text for each in dockerfile.parse(text)["tests"].instructions if each.keyword == "CMD")
    names = re.findall(r"tests/[\w/.]+", command)
    assert len(names) > 3 and all((ROOT / name).is_file() for name in names)
