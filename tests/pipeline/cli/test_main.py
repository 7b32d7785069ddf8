"""The command `draw`: help, tables and errors, none of which needs TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli import main
from trainer import tasks


def _draw(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main.main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_help_lists_the_subcommands() -> None:
    status, shown = _draw("--help")
    assert status == 0
    for name, (_, _, summary) in main.SUBCOMMANDS.items():
        assert f"{name} " in shown
        assert summary.split()[0] in shown


@pytest.mark.parametrize("name", main.SUBCOMMANDS)
def test_every_subcommand_has_help(name: str) -> None:
    status, shown = _draw(name, "--help")
    assert status == 0
    assert f"main {name}" in shown


def test_tasks_are_a_table() -> None:
    status, shown = _draw("tasks")
    heading, *rows = shown.splitlines()
    assert status == 0
    assert [row.split()[0] for row in rows] == list(tasks.NAMES)
    row = rows[tasks.NAMES.index("mnist")]
    for column, value in {"title": "Binarised", "T": "64", "attention": "read 2, write 5", "steps": "120,000"}.items():
        assert row[heading.index(f" {column} ") + 1 :].startswith(value)
    assert "none" in rows[tasks.NAMES.index("mnist_no_attention")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "minst"), "There is no task 'minst'. The tasks are: digits, mnist, mnist_no_attention, "),
        (("--data-dir", "/no/such/folder"), "The data directory /no/such/folder does not exist."),
        (("--steps", "-1"), "The number of steps is -1: give at least 0"),
        (("--steps", "0"), "With --steps 0 nothing is trained: name the weights to export with --init-from"),
        (("--pipeline-root", "/dev/null/runs"), "Cannot make the folder /dev/null/runs/digits"),
    ],
)
def test_a_mistake_is_one_message_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, shown = _draw("run", *arguments)
    assert status == 1
    assert shown.startswith(f"Error: {message}")
    assert "Traceback" not in shown


def test_settings_come_from_the_environment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TASK", "from_the_environment")
    assert "There is no task 'from_the_environment'" in _draw("run")[1]
    assert "There is no task 'from_the_option'" in _draw("run", "--task", "from_the_option")[1]


def test_help_and_mistakes_come_at_once() -> None:
    """Without TensorFlow and TFX, whose import takes ten seconds."""
    program = (
        "import sys; from click.testing import CliRunner; from pipeline.cli import main\n"
        "for words in (['--help'], ['run', '--help'], ['tasks'], ['run', '--task', 'minst']):\n"
        "    CliRunner().invoke(main.main, words)\n"
        "sys.exit(' '.join(sorted({'tensorflow', 'tfx', 'apache_beam', 'numpy'} & set(sys.modules))) or 0)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
