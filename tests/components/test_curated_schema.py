"""The schema that a run is given is that of its task."""

from __future__ import annotations

from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components.curated_schema import Executor
from tests import tiny


def _import(task: str, folder: Path) -> Path:
    schema = standard_artifacts.Schema()
    schema.uri = str(folder)
    Executor().Do({}, {"schema": [schema]}, {"task": task, "package": "pipeline"})
    return folder / "schema.pbtxt"


def test_it_is_copied(tmp_path: Path) -> None:
    assert _import("svhn", tmp_path).read_text() == (tiny.ROOT / "pipeline/schema/svhn/schema.pbtxt").read_text()


def test_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no curated schema .*pipeline/schema/minst/schema\.pbtxt"):
        _import("minst", tmp_path)
