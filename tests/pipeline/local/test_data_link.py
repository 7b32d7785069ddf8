"""The address by which a run names a data set follows from what the data set holds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.local.data_link import link_data, note_prepared


def _prepare(data_dir: Path, content: bytes = b"images") -> Path:
    version = data_dir / "mnist" / "3.0.1"
    version.mkdir(parents=True)
    (version / "dataset_info.json").write_text("{}")
    (version / "mnist-train.tfrecord-00000-of-00001").write_bytes(content)
    return data_dir


def _link(folder: Path, data_dir: Path) -> str:
    address = link_data(folder, data_dir, "mnist:3.0.1")
    assert (folder / address).resolve() == data_dir.resolve()
    return address


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_a_directory_that_was_moved_or_copied_keeps_its_address(folder: Path, tmp_path: Path) -> None:
    first = _link(folder, _prepare(tmp_path / "one"))
    (tmp_path / "one").rename(tmp_path / "two")
    assert _link(folder, tmp_path / "two") == first
    # What else lies there is none of the data set.
    _prepare(tmp_path / "three")
    (tmp_path / "three" / "downloads").mkdir()
    assert _link(folder, tmp_path / "three") == first
    assert first.startswith("./")


def test_a_run_that_was_copied_with_what_its_links_point_to_keeps_its_address(folder: Path, tmp_path: Path) -> None:
    """As by `scp -r`."""
    first = _link(folder, _prepare(tmp_path / "one"))
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert not (copy / first).is_symlink()
    assert link_data(copy, tmp_path / "one", "mnist:3.0.1") == first
    assert (copy / first / "mnist" / "3.0.1" / "dataset_info.json").exists()


def test_another_content_has_another_address_and_the_first_keeps_its_own(folder: Path, tmp_path: Path) -> None:
    first = _link(folder, _prepare(tmp_path / "one"))
    for number, content in enumerate((b"images of mine", b"imagos"), 2):
        other = _link(folder, _prepare(tmp_path / f"{number}", content))
        assert other not in (first, "")
    assert _link(folder, tmp_path / "one") == first


@pytest.mark.parametrize("moved", [False, True])
def test_what_is_prepared_during_the_run_keeps_its_address_too(folder: Path, tmp_path: Path, moved: bool) -> None:
    place = tmp_path / "one"
    place.mkdir()
    first = _link(folder, place)
    assert _link(folder, place) == first
    _prepare(place)
    if moved:
        note_prepared(folder, "mnist:3.0.1")
        place = place.rename(tmp_path / "two")
    assert _link(folder, place) == first
    assert _link(folder, _prepare(tmp_path / "three", b"others")) != first
