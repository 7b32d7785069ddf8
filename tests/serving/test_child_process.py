"""Children of this process take no module from the folder that they run in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from serving.child_process import child_environment, safe_command
from tests import tiny

SHADOWED = ("numpy", "json", "runpy", "tensorflow", "serving", "apache_beam", "pathlib")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with files that are called as modules of ours and of others."""
    for name in SHADOWED:
        (tmp_path / f"{name}.py").write_text("raise SystemExit(f'{__file__} was run')\n")
    return tmp_path


def test_a_module_in_the_current_folder_is_not_taken(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("elsewhere")
    (place / "shown.py").write_text("import json, pathlib, sys, numpy; print(json.dumps([__name__, *sys.argv[1:]]))\n")
    environment = child_environment({"PYTHONPATH": str(place)})
    child = subprocess.run(
        safe_command("shown", "--one", "two"), cwd=folder, env=environment, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout) == ["__main__", "--one", "two"]
    plain = subprocess.run([sys.executable, "-c", "import numpy"], cwd=folder, capture_output=True, text=True)
    assert "was run" in plain.stderr  # which shows that the files would be taken


def test_the_current_folder_does_not_come_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    places = child_environment({"ONE": "1"})["PYTHONPATH"].split(os.pathsep)
    assert "" not in places
    assert str(tiny.ROOT) in places


@pytest.mark.slow
def test_beams_workers_take_nothing_from_there(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The files of the user's folder lie there while `draw score-batch` runs with worker processes."""
    from tests.serving.model_server import export_model

    place = tmp_path_factory.mktemp("job")
    task = tiny.MODELS["attention"]
    np.save(place / "images.npy", tiny.make_images(task, 6))
    command = [
        *(str(Path(sys.executable).with_name("draw")), "score-batch", "--model", str(export_model(task, place / "m"))),
        *("--input", str(place / "images.npy"), "--output", str(place / "out")),
        *("--", "--direct_running_mode=multi_processing", "--direct_num_workers=2"),
    ]
    child = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(tiny.ROOT)}, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    assert "6 images scored" in child.stdout
