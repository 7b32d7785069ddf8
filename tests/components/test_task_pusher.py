"""Where a model lands follows from its own task, where the destination leaves that open."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from components.evaluator import gate
from components.task_pusher import Executor
from trainer import tasks


def _push(
    folder: Path, serving_dir: str, *, servable: bool = True, graph: bytes = b"graph"
) -> standard_artifacts.PushedModel:
    """Pushes a model of `mnist`, which both blessings let through unless it is not servable."""
    blessing, infra, pushed = (
        standard_artifacts.ModelBlessing(),
        standard_artifacts.InfraBlessing(),
        standard_artifacts.PushedModel(),
    )
    for name, artifact in (("blessing", blessing), ("infra", infra), ("pushed", pushed)):
        artifact.uri = str(folder / name)
    blessing.set_int_custom_property("blessed", 1)
    infra.set_int_custom_property("blessed", int(servable))
    (folder / "infra").mkdir()
    if servable:
        (folder / "infra" / "INFRA_BLESSED").touch()
        infra.set_int_custom_property("has_model", 1)
        assets = folder / "infra" / "stamped_model" / "assets"
        assets.mkdir(parents=True)
        (assets / "task.json").write_text(tasks.get("mnist").to_json())
        (assets.parent / "saved_model.pb").write_bytes(graph)
    Executor().Do(
        {"model_blessing": [blessing], "infra_blessing": [infra]},
        {"pushed_model": [pushed]},
        {"serving_dir": serving_dir},
    )
    return pushed


@pytest.mark.parametrize("destination", ["serving/{task}", "serving/mnist", "serving/{other}"])
def test_it_is_a_new_version_below_the_destination(tmp_path: Path, destination: str) -> None:
    pushed = _push(tmp_path, str(tmp_path / destination))
    (version,) = (tmp_path / destination.replace("{task}", "mnist")).iterdir()
    assert pushed.get_string_custom_property("pushed_destination") == str(version)
    assert json.loads((version / "assets" / "task.json").read_text())["name"] == "mnist"


def test_what_cannot_be_served_is_not_pushed(tmp_path: Path) -> None:
    pushed = _push(tmp_path, str(tmp_path / "serving" / "{task}"), servable=False)
    assert pushed.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "serving").exists()


def test_a_model_that_is_the_latest_version_already_is_not_pushed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cache, which looks into no folder, a run whose model comes from one pushes again."""
    monkeypatch.setattr(gate, "_fingerprint", lambda folder: (Path(folder) / "saved_model.pb").read_bytes())
    serving_dir = tmp_path / "serving"
    for count, content in ((1, b"one"), (1, b"one"), (2, b"two"), (3, b"one")):
        monkeypatch.setattr("time.time", lambda count=count: 1000 + count)
        run = Path(tempfile.mkdtemp(dir=tmp_path))
        pushed = _push(run, str(serving_dir), graph=content)
        assert len(list(serving_dir.iterdir())) == count
        version = Path(pushed.get_string_custom_property("pushed_destination"))
        assert pushed.get_int_custom_property("pushed") == 1 and version.name == str(1000 + count)
        assert pushed.get_string_custom_property("pushed_version") == version.name
        assert (Path(pushed.uri) / "saved_model.pb").read_bytes() == content
