"""The newest checkpoint that can be read is taken, whatever has happened to the files beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.training import checkpoints
from trainer.training.step import TrainState

TASK = tiny.tiny_task()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two checkpoints, of steps 8 and 12, each full of its step's number."""
    state = TrainState(TASK)
    saved = checkpoints.Checkpoints(str(tmp_path / "run [1]"), state)
    for step in (4, 8, 12):
        for variable in state.variables:
            variable.assign(tf.cast(tf.fill(variable.shape, step), variable.dtype))
        saved.save(step)
    return tmp_path / "run [1]"


def _restored(folder: Path) -> int:
    state = TrainState(TASK)
    path = checkpoints.Checkpoints(str(folder), state).restore()
    step = int(state.step)
    assert path == str(folder / f"ckpt-{step}")
    for value in state.arrays().values():
        np.testing.assert_array_equal(value, step)
    return step


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [_cut, _flip, lambda content: b"", lambda content: bytes(len(content)), None])
@pytest.mark.parametrize("file", ["ckpt-12.index", "ckpt-12.data-00000-of-00001"])
def test_a_damaged_newest_gives_way_to_the_older(
    folder: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes] | None, file: str
) -> None:
    path = folder / file
    if damage:
        path.write_bytes(damage(path.read_bytes()))
    else:
        path.unlink()
    assert _restored(folder) == 8
    # Without its index nothing says that there was one.
    if damage or "data" in file:
        assert f"{folder}/ckpt-8 is taken" in caplog.text and "ckpt-12" in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"garbage", b'model_checkpoint_path: "/elsewhere/ckpt-99"\n'])
def test_checkpoints_are_known_by_their_files(folder: Path, content: bytes | None) -> None:
    (folder / "checkpoint").unlink()
    if content is not None:
        (folder / "checkpoint").write_bytes(content)
    assert _restored(folder) == 12


def test_a_moved_folder_goes_on_and_keeps_two(folder: Path) -> None:
    moved = folder.rename(folder.with_name("moved"))
    state = TrainState(TASK)
    saved = checkpoints.Checkpoints(str(moved), state)
    assert saved.restore() == f"{moved}/ckpt-12"
    state.step.assign(100)
    saved.save(100)
    assert checkpoints.paths(str(moved)) == [f"{moved}/ckpt-100", f"{moved}/ckpt-12"]
    assert len(list(moved.glob("ckpt-*"))) == 4


def test_what_a_killed_save_left_and_what_could_not_be_read_goes_with_the_next(folder: Path) -> None:
    (folder / "ckpt-12_temp").mkdir()
    (folder / "ckpt-12_temp" / "part-00000-of-00001.data-00000-of-00001").touch()
    (folder / "ckpt-12.index").write_bytes(b"")
    (folder / "logs").mkdir()
    state = TrainState(TASK)
    saved = checkpoints.Checkpoints(str(folder), state)
    saved.restore()
    saved.save(9)
    files = ["ckpt-8.data-00000-of-00001", "ckpt-8.index", "ckpt-9.data-00000-of-00001", "ckpt-9.index"]
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint", *files, "logs"]
    assert tf.train.latest_checkpoint(str(folder.rename(folder.with_name("plain")))).endswith("plain/ckpt-9")


def test_where_none_can_be_read_the_folder_is_named(folder: Path) -> None:
    for path in folder.glob("*.data-*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"Each checkpoint in .*run \[1\] is damaged.*remove that folder"):
        checkpoints.Checkpoints(str(folder), TrainState(TASK)).restore()


def test_no_folder_is_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoints.paths(str(tmp_path / "none")) == [] and checkpoints.read_newest(str(tmp_path)) is None
