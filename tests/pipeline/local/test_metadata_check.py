"""A database that cannot be used is said within seconds, with who holds it or what to do."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.local import metadata_check
from pipeline.local.metadata_check import check_metadata

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs ?#%20" / "metadata.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE Type (id INTEGER PRIMARY KEY, name TEXT)")
        connection.executemany("INSERT INTO Type (name) VALUES (?)", [(1000 * "x",)] * 100)
    connection.close()
    return path


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_sound_one_a_new_one_and_one_that_is_read_pass_at_once(path: Path) -> None:
    reader = sqlite3.connect(path)
    reader.execute("SELECT * FROM Type").fetchone()
    for each in (path, path.with_name("none.db")):
        check_metadata(each, report=pytest.fail)
    path.with_name("empty.db").touch()
    check_metadata(path.with_name("empty.db"), report=pytest.fail)
    assert not path.with_name("none.db").exists()


def test_a_locked_one_is_waited_for_with_a_line_and_its_holder_is_named(
    path: Path, holder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata_check, "WAIT_SECONDS", 0.5)
    lines: list[str] = []
    with pytest.raises(ValueError, match=rf"metadata.db is locked by process {holder.pid} \(.*\)\. End that process"):
        check_metadata(path, report=lines.append)
    (line,) = lines
    assert line.startswith(f"waiting for {path}, which is locked by process {holder.pid} ({sys.executable} -c")
    assert str(os.getpid()) not in line.split()


def test_one_that_is_let_go_in_time_passes(path: Path, holder: subprocess.Popen[str]) -> None:
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        holder.kill()

    check_metadata(path, report=report)
    assert len(lines) == 1


@pytest.mark.parametrize("damage", ["garbage", "cut", "zeroed in the middle"])
def test_a_damaged_one_says_what_to_do(path: Path, damage: str) -> None:
    content = path.read_bytes()
    path.write_bytes(
        {
            "garbage": b"no database" * 100,
            "cut": content[: len(content) // 2],
            "zeroed in the middle": content[:8192] + bytes(8192) + content[16384:],
        }[damage]
    )
    with pytest.raises(ValueError, match=r"metadata.db cannot be used: .*Bring back a copy of it; or move it away"):
        check_metadata(path, report=pytest.fail)
