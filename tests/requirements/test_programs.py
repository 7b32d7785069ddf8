"""Every program of the environment that the documents name starts, on the line of TFX that runs the tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny

BIN = Path(sys.executable).parent
DOCUMENTS = (
    "README.md",
    "BUILD.md",
    "CONTRIBUTING.md",
    *(f"docs/{path.name}" for path in (tiny.ROOT / "docs").glob("*.md")),
)
SOURCES = ("components", "pipeline", "serving", "trainer")


def _named() -> set[str]:
    """Programs of .venv/bin in commands of the documents and in what our errors advise."""
    text = "\n".join((tiny.ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS)
    advice = "\n".join(
        path.read_text(encoding="utf-8") for folder in SOURCES for path in (tiny.ROOT / folder).rglob("*.py")
    )
    programs = set(re.findall(r"\.venv/bin/([\w-]+)", text)) | set(re.findall(r"^\s*\$ ([\w-]+)", text, re.MULTILINE))
    programs |= {name for name in ("tfds", "tensorboard", "tfx") if re.search(rf"\b{name}\b", text + advice, re.I)}
    return {name for name in programs if (BIN / name).is_file() and name not in ("python", "pip", "activate")}


NAMED = sorted(_named())


def test_the_programs_are_those_that_users_are_sent_to() -> None:
    assert {"draw", "tfds", "tensorboard", "tfx"} <= set(NAMED)


@pytest.mark.parametrize("name", NAMED)
def test_a_program_that_is_named_starts(name: str, tmp_path: Path) -> None:
    arguments = ["build", "--help"] if name == "tfds" else ["--help"]
    started = subprocess.run([BIN / name, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert started.returncode == 0, started.stderr
    assert "usage" in started.stdout.lower() + started.stderr.lower()
