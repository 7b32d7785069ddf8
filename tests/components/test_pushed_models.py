"""Which of the pushed versions a model is compared with, where they are told apart by their content alone."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from components.evaluation.pushed_models import latest_other
from tests.components.tiny_models import KnownBound


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """Three SavedModels of one graph; only the weights of `other` are others."""
    folder = tmp_path_factory.mktemp("models")
    for name, offset in (("candidate", 1.0), ("again", 1.0), ("other", 2.0)):
        KnownBound(offset).save(folder / name)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def serving(tmp_path: pathlib.Path) -> pathlib.Path:
    """TF Serving's model_base_path."""
    return tmp_path / "serving"


def _push(model: pathlib.Path, serving: pathlib.Path, version: str) -> str:
    """As ServingCheck and Pusher do: the model's files, and requests to warm it up."""
    shutil.copytree(model, serving / version)
    (serving / version / "assets.extra").mkdir()
    (serving / version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    return str(serving / version)


def test_there_is_none_before_the_first_push(models: dict[str, pathlib.Path], serving: pathlib.Path) -> None:
    assert latest_other(str(serving), str(models["candidate"])) is None
    serving.mkdir()
    assert latest_other(str(serving), str(models["candidate"])) is None


def test_it_is_the_latest_by_number(models: dict[str, pathlib.Path], serving: pathlib.Path) -> None:
    # By letters 999999999 would come last.
    _push(models["other"], serving, "999999999")
    latest = _push(models["other"], serving, "1700000000")
    assert latest_other(str(serving), str(models["candidate"])) == latest


@pytest.mark.parametrize("same", ["candidate", "again"])
def test_it_is_never_the_candidate_itself(same: str, models: dict[str, pathlib.Path], serving: pathlib.Path) -> None:
    """Be it that the model comes from the cache, or that it was trained again to the same weights."""
    other = _push(models["other"], serving, "1")
    _push(models[same], serving, "2")
    assert latest_other(str(serving), str(models["candidate"])) == other


def test_a_version_that_is_being_written_is_none_yet(models: dict[str, pathlib.Path], serving: pathlib.Path) -> None:
    whole = _push(models["other"], serving, "1")
    (pathlib.Path(_push(models["other"], serving, "2")) / "saved_model.pb").unlink()
    (serving / "3").mkdir()
    _push(models["other"], serving, "latest")
    (serving / "4").write_text("a file")
    assert latest_other(str(serving), str(models["candidate"])) == whole


def test_a_version_that_something_else_exported_is_another_model(
    models: dict[str, pathlib.Path], serving: pathlib.Path
) -> None:
    foreign = _push(models["candidate"], serving, "5")
    (pathlib.Path(foreign) / "fingerprint.pb").unlink()
    assert latest_other(str(serving), str(models["candidate"])) == foreign
