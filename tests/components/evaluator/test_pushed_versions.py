"""What another run has pushed since this one began is told by the stages that see it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tfx.utils import import_utils

from components.evaluator import gate, pushed_versions
from components.evaluator.pushed_versions import PushedVersions


def test_kubeflow_finds_the_artifacts_type_by_its_name() -> None:
    assert import_utils.import_class_by_path(PushedVersions.TYPE_NAME) is PushedVersions


@pytest.mark.parametrize("change", ["none", "another", "replaced"])
def test_what_has_come_since_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    monkeypatch.setattr(gate, "_fingerprint", lambda folder: (Path(folder) / "saved_model.pb").read_text())
    serving, before = tmp_path / "serving", PushedVersions()
    before.uri = str(tmp_path / "before")

    def push(version: str, content: str) -> None:
        (serving / version).mkdir(parents=True, exist_ok=True)
        (serving / version / "saved_model.pb").write_text(content)

    push("7", "a")
    pushed_versions.write(before, str(serving))
    if change == "another":
        push("8", "b")
    elif change == "replaced":
        push("7", "b")
    pushed_versions.log_changes([before], str(serving))
    messages = [record.getMessage() for record in caplog.records]
    version = {"none": None, "another": "8", "replaced": "7"}[change]
    assert messages == ([f"Since this run began, {serving} has got {version}."] if version else [])


def test_where_nobody_has_looked_before_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pushed_versions.log_changes(None, str(tmp_path))
    pushed_versions.log_changes([], str(tmp_path))
    assert not caplog.records
