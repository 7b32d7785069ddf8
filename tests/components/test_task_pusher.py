"""Where a model lands follows from its own task, where the destination leaves that open."""

from __future__ import annotations

import json
import os
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
    (folder / "infra").mkdir(exist_ok=True)
    if servable:
        (folder / "infra" / "INFRA_BLESSED").touch()
        infra.set_int_custom_property("has_model", 1)
        assets = folder / "infra" / "stamped_model" / "assets"
        assets.mkdir(parents=True, exist_ok=True)
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


def _version(pushed: standard_artifacts.PushedModel) -> Path:
    path = Path(pushed.get_string_custom_property("pushed_destination"))
    assert pushed.get_string_custom_property("pushed_version") == path.name
    assert {entry.name for entry in path.iterdir()} == {"assets", "saved_model.pb"}
    return path


def test_the_version_is_greater_than_all_that_a_server_may_have(tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    for name in ("20261125120000", "20261125120007", "v99999999999999999", ".pushing-99999999999999999"):
        (serving / name).mkdir(parents=True)
    assert _version(_push(tmp_path, str(serving))).name == "20261125120008"
    assert int(_version(_push(tmp_path, str(tmp_path / "other"))).name) > 1_700_000_000


def test_where_no_greater_version_is_possible_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "serving" / str(2**63 - 1)).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"greatest that there can be.*Rename"):
        _push(tmp_path, str(tmp_path / "serving"))
    assert len(list((tmp_path / "serving").iterdir())) == 1


@pytest.fixture
def fingerprints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_fingerprint", lambda folder: (Path(folder) / "saved_model.pb").read_bytes())


@pytest.mark.usefixtures("fingerprints")
def test_a_model_that_is_the_latest_version_already_is_not_pushed_twice(tmp_path: Path) -> None:
    """As after a Pusher that was killed, or without a cache, which looks into no folder."""
    serving = tmp_path / "serving"
    first = _version(_push(tmp_path, str(serving)))
    again = _push(tmp_path, str(serving))
    assert _version(again) == first and again.get_int_custom_property("pushed") == 1
    assert (Path(again.uri) / "saved_model.pb").read_bytes() == b"graph"
    second = _version(_push(tmp_path, str(serving), graph=b"another"))
    assert int(second.name) > int(first.name)
    # The older one again is a new version: a server has the newest.
    assert int(_version(_push(tmp_path, str(serving))).name) > int(second.name)


def test_a_server_never_sees_a_part_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = tmp_path / "serving"

    def killed(source: str, target: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            _push(tmp_path, str(serving))
    assert not [entry for entry in serving.iterdir() if entry.name.isdecimal()]
    version = _version(_push(tmp_path, str(serving)))
    assert list(serving.iterdir()) == [version]


def test_a_mounted_bucket_that_renames_no_folder_gets_the_graph_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: str, target: str) -> None:
        raise OSError("a folder cannot be renamed")

    monkeypatch.setattr(os, "rename", refused)
    version = _version(_push(tmp_path, str(tmp_path / "serving")))
    assert list((tmp_path / "serving").iterdir()) == [version]
