"""`draw doctor`: what it says of an installation, and of one in which TensorFlow does not start."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from serving.cli import doctor_command


def test_versions_devices_and_models_are_told() -> None:
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0, result.output
    facts = dict(line.split(maxsplit=1) for line in result.output.splitlines())
    assert "CPU:0" in facts["devices"]
    assert facts["tfx"][0].isdigit() and facts["tensorflow"][0].isdigit()
    assert "mnist" in facts["models"]


def test_a_tensorflow_that_does_not_start_is_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[str]:
        raise ImportError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(doctor_command, "_devices", broken)
    monkeypatch.setattr(doctor_command, "_PACKAGES", ("no-such-distribution",))
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[-1].endswith("TensorFlow does not start: ImportError: libcudart.so.12: cannot open shared object file")
    assert "no-such-distribution not installed" in " ".join(result.output.split())


def test_the_version_is_the_distributions() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.startswith("draw 0.")
