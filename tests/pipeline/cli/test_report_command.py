"""`draw report` where its file cannot be written."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pipeline.cli import report_command
from pipeline.cli.main import main


def test_a_file_that_cannot_be_written_is_a_line_below_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_command, "_report", lambda settings, samples: "# The table\n")
    result = CliRunner().invoke(main, ["report", "-o", "/dev/null/table.md"])
    assert isinstance(result.exception, SystemExit) and result.exit_code == 1
    table, error = result.output.splitlines()
    expected = "Error: Cannot write /dev/null/table.md, for its folder cannot be made: File exists."
    assert (table, error) == ("# The table", expected)
