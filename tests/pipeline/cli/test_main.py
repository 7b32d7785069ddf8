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
    for column, value in {"title": "Binarised", "T": "64", "attention": "read 2, write 5", "steps": "60,000"}.items():
        assert row[heading.index(f" {column} ") + 1 :].startswith(value)
    assert "none" in rows[tasks.NAMES.index("mnist_no_attention")]


def test_a_task_is_shown_with_the_source_of_each_value() -> None:
    status, shown = _draw("tasks", "mnist", "--set", "glimpses=7")
    assert status == 0
    rows = {row.split()[0]: row for row in shown.splitlines()[2:]}
    assert rows["glimpses"].endswith("  given with --set") and " 7 " in rows["glimpses"]
    assert rows["lstm_units"].endswith("the paper's Table 3")


def test_a_built_in_task_is_a_file_to_start_from(tmp_path: Path) -> None:
    status, shown = _draw("tasks", "mnist", "--yaml")
    assert status == 0
    file = tmp_path / "mine.yaml"
    file.write_text(shown)
    status, again = _draw("tasks", str(file), "--yaml")
    assert status == 0 and again.startswith("name: mine\n") and "# given in mine.yaml" in again
    assert _draw("tasks", str(file))[0] == 0


def test_a_task_file_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("like: mnist\nglimpse: 3\n")
    status, shown = _draw("tasks", str(file))
    assert (status, shown) == (1, f"Error: {file}, line 2: a task has no glimpse: did you mean glimpses?\n")
    assert "name it" in _draw("tasks", "--yaml")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--task", "minst"),
            "There is no task 'minst'. Did you mean mnist? The tasks are: digits, mnist, mnist_no_attention, ",
        ),
        (("--set", "glimpse=3"), "--set glimpse=3: a task has no glimpse: did you mean glimpses?"),
        (("--set", "recipe.steps=3", "--steps", "4"), "The number of steps is given by --steps and by --set"),
        (("--data-dir", "/no/such/folder"), "The data directory /no/such/folder does not exist."),
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


def test_values_are_set_by_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "glimpses=7 recipe.step=3")
    assert "--set recipe.step=3: a task has no recipe.step" in _draw("run")[1]


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
