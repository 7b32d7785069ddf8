"""Which files a name of the input means: folders, files and patterns, with `[`, `*` and odd files among them."""

from __future__ import annotations

import os
from pathlib import Path

import apache_beam as beam
import pytest

from serving.beam_options import LOCAL_RUNNER
from serving.images.input_files import PASSED_OVER, MatchInputs, find_inputs, list_files

_LISTED: dict[str, list[tuple[str, ...]]] = {}
"""What a pipeline has listed. A module's variable, for Beam pickles all else that its functions refer to."""


def _keep(kind: str, *values: str) -> None:
    _LISTED[kind].append(values)


def _listed(*names: Path | str) -> tuple[list[str], dict[str, str]]:
    """Paths of the files to read, and the reasons of those passed over."""
    _LISTED.update(files=[], passed=[])
    with beam.Pipeline(LOCAL_RUNNER) as pipeline:
        listed = pipeline | MatchInputs(find_inputs([str(name) for name in names]))
        _ = listed["files"] | "Files" >> beam.Map(lambda file: _keep("files", file.path))
        _ = listed[PASSED_OVER] | "Passed" >> beam.Map(lambda over: [_keep("passed", *file) for file in over.first])
    return sorted(path for (path,) in _LISTED["files"]), dict(_LISTED["passed"])  # type: ignore[arg-type]


ODD = ("plain", "br [1]", "x*y", "what?", "[", "naïve ☃")


@pytest.mark.parametrize("folder", ODD)
def test_what_exists_stands_for_itself(folder: str, tmp_path: Path) -> None:
    place = tmp_path / folder
    (place / "below [2]").mkdir(parents=True)
    (tmp_path / "br 1").mkdir()  # what `br [1]` would match as a pattern
    (tmp_path / "br 1" / "other.npy").touch()
    files = [place / "a.npy", place / "b[0].npy", place / "below [2]" / "c*.npz"]
    for file in files:
        file.touch()
    everything = sorted(map(str, files))
    assert _listed(place)[0] == everything
    assert _listed(f"{place}/")[0] == everything
    assert _listed(*files)[0] == everything
    assert _listed(place / "*.npy")[0] == everything[:2]
    assert _listed(place / "**")[0] == everything
    assert _listed(place / "b*[[]0].npy", files[0])[0] == everything[:2]
    assert _listed(place / "below*" / "c*")[0] == everything[2:]
    assert find_inputs([str(place)]).folder == f"{place}/"


def test_several_names_are_below_one_folder_and_each_file_comes_once(tmp_path: Path) -> None:
    for name in ("one/a.npy", "one/b.npy", "oneself/a.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [tmp_path / "one", tmp_path / "one" / "a.npy", tmp_path / "one" / "*", tmp_path / "oneself" / "a.npy"]
    files, _ = _listed(*names)
    assert len(files) == 3
    # An image that counted twice would spoil a model's reference.
    assert sorted(file.path for file in list_files(find_inputs([str(name) for name in names]))) == files
    assert find_inputs([str(name) for name in names]).folder == f"{tmp_path}/"


def test_a_relative_name_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.npy").touch()
    monkeypatch.chdir(tmp_path / "in")
    expected = [str(tmp_path / "in" / "a.npy")]
    assert _listed("a.npy")[0] == _listed("../in/*.npy")[0] == _listed(".")[0] == expected


def test_what_is_passed_over_is_named(tmp_path: Path) -> None:
    for name in (".hidden.npy", "_SUCCESS", ".checkpoints/a.npy", "sound.npy", "_DSC1.JPG", "_bad/1.jfif", "._2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "queue")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked").symlink_to(tmp_path.parent)
    files, passed = _listed(tmp_path)
    # Cameras write an underscore before the names of pictures.
    assert sorted(files) == [str(tmp_path / name) for name in ("_DSC1.JPG", "_bad/1.jfif", "sound.npy")]
    hidden = "its name begins with a dot or an underscore"
    assert {Path(path).relative_to(tmp_path).as_posix(): reason for path, reason in passed.items()} == {
        ".hidden.npy": hidden,
        "_SUCCESS": hidden,
        ".checkpoints/a.npy": hidden,
        "._2.jpg": hidden,
        "queue": "it is no regular file",
        "dangling": "it is no regular file",
        "linked": "it is a link to a folder",
    }
    # Who names it means it.
    assert _listed(tmp_path / ".hidden.npy") == ([str(tmp_path / ".hidden.npy")], {})


@pytest.mark.parametrize("name", ["nothing.npy", "*.npz", "no/such/folder", "empty", "a.npy/more"])
def test_a_name_without_a_file_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no file matches"):
        find_inputs([str(tmp_path / "a.npy"), str(tmp_path / name)])
    with pytest.raises(ValueError, match="There is no input"):
        find_inputs([])


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by permissions, which do not hold root back."""
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="closed"):
        find_inputs([str(tmp_path)])
