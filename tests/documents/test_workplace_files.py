"""What editors, hooks and CI read names commands that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documents.code_blocks import ROOT

TARGETS = {
    *re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE),
    ".venv/.installed",
}


def _devcontainer() -> dict[str, Any]:
    text = (ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    return content


def _targets(command: str) -> set[str]:
    return set(re.findall(r"(?:^|&& )make (\S+)", command))


def test_the_development_container_makes_the_environment() -> None:
    content = _devcontainer()
    assert _targets(content["postCreateCommand"]) == {".venv/.installed"} <= TARGETS
    assert {str(port) for port in content["forwardPorts"]} == content["portsAttributes"].keys()
    version = content["features"]["ghcr.io/devcontainers/features/python:1"]["version"]
    # Debian 12's glibc takes the older line.
    assert version == (ROOT / ".python-version").read_text(encoding="utf-8").strip()


def test_a_commit_passes_make_lint() -> None:
    content = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repository in content["repos"] for hook in repository["hooks"]]
    assert entries == ["make lint"] and "lint" in TARGETS


def test_ci_runs_what_a_change_must_pass_on_both_lines() -> None:
    content = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    job = content["jobs"]["test"]
    python = (ROOT / ".python-version").read_text(encoding="utf-8").strip()
    assert job["strategy"]["matrix"]["image"] == [f"python:{python}-bookworm", "ubuntu:24.04"]
    # It knows Ubuntu's releases alone: actions/setup-python#1294.
    assert not any("setup-python" in step.get("uses", "") for step in job["steps"])
    assert any(step.get("run") == "bash .ci/run" for step in job["steps"])
    commands = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert set(re.findall(r"^make (\S+)", commands, re.MULTILINE)) == {"lint", "test", "wheel"} <= TARGETS


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem)
def test_an_issue_form_is_one(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form.keys() >= {"name", "description", "body"}
    labels = [field["attributes"]["label"] for field in form["body"]]
    assert path.stem != "fault" or any("draw doctor" in label for label in labels)
