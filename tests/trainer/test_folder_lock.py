"""A folder has one owner: a second is refused or waits, a dead one's hold is taken over, a lost one is noticed."""

from __future__ import annotations

import dataclasses
import fcntl
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests import waiting
from trainer import folder_lock
from trainer.folder_lock import FolderHeld, FolderLost, Owner, hold

wait_for = functools.partial(waiting.wait_for, seconds=60)
"""On a busy machine for long."""

HOLDER = """
import sys, time
from trainer import folder_lock
with folder_lock.hold(sys.argv[1], "draw run"):
    print("held", flush=True)
    time.sleep(600)
"""


def _holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def _elsewhere(owner: Owner) -> Owner:
    return dataclasses.replace(owner, place="another machine", host="node-7")


def _write(folder: Path, owner: Owner) -> None:
    """Writes as an owner does, for a heart may beat between a read and a write that have no lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / folder_lock.FILE).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(owner.to_text())


def test_a_living_holder_is_named_and_a_killed_ones_hold_is_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "runs [1]" / "digits"
    holder = _holder(folder)
    try:
        named = rf"digits is in use: draw run, process {holder.pid} on .* since 20"
        with pytest.raises(FolderHeld, match=named), hold(str(folder), "draw run"):
            pytest.fail("two hold the folder")
        # One that has been stopped may go on: it is no dead one.
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(FolderHeld), hold(str(folder), "draw run"):
            pytest.fail("two hold the folder")
    finally:
        holder.kill()
    # It has ended, and nobody has waited for it yet: what is left of it holds nothing.
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    with hold(str(folder), "draw run"):
        assert folder_lock.is_held_here(str(folder))
    assert not folder_lock.is_held_here(str(folder)) and not list(folder.iterdir())
    holder.wait()


def test_a_process_with_the_number_of_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    _write(tmp_path, dataclasses.replace(Owner.for_this_process("draw run"), started="1"))
    with hold(str(tmp_path), "draw run"):
        pass


@pytest.mark.parametrize("content", ["", "\0" * 1024, "{", "[]", '{"token": "t"}'])
def test_a_file_that_names_nobody_holds_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / folder_lock.FILE).write_text(content)
    with hold(str(tmp_path), "draw run"):
        assert folder_lock.is_held_here(str(tmp_path))


def test_of_many_that_ask_at_once_one_holds(tmp_path: Path) -> None:
    _write(tmp_path, dataclasses.replace(Owner.for_this_process("draw run"), started="1"))
    holding, most, refused = [], [], []
    start = threading.Barrier(16)

    def ask() -> None:
        start.wait()
        try:
            with hold(str(tmp_path), "draw run"):
                holding.append(1)
                most.append(len(holding))
                wait_for(lambda: len(holding) + len(refused) == 16)
                holding.pop()
        except FolderHeld:
            refused.append(1)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and len(refused) == 15


def test_who_waits_gets_the_folder_when_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "_POLL_SECONDS", 0.05)
    holder = _holder(tmp_path)
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        holder.terminate()

    with hold(str(tmp_path), "prepare mnist", wait=True, report=report):
        assert holder.wait(60) == -signal.SIGTERM
    assert len(lines) == 1 and lines[0].startswith(f"waiting for {tmp_path}, which is in use: draw run, process ")


def test_on_another_machine_the_heart_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(folder_lock, "DEAD_SECONDS", 0.5)
    other, lines = _elsewhere(Owner.for_this_process("Trainer")), []
    _write(tmp_path, other)
    began = time.monotonic()
    with hold(str(tmp_path), "Trainer", report=lines.append):
        assert time.monotonic() - began > 0.5
    assert len(lines) == 1 and "to see whether the one that uses" in lines[0] and "on node-7" in lines[0]
    _write(tmp_path, other)

    def beat(line: str) -> None:
        _write(tmp_path, dataclasses.replace(other, beat=1))

    with pytest.raises(FolderHeld, match="on node-7"), hold(str(tmp_path), "Trainer", report=beat):
        pytest.fail("two hold the folder")


def test_a_heart_beats_and_who_was_taken_over_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "BEAT_SECONDS", 0.05)
    file = tmp_path / folder_lock.FILE
    with hold(str(tmp_path), "Trainer") as held:
        wait_for(lambda: _beats(file) > 1)
        held.check()
        successor = _elsewhere(Owner.for_this_process("Trainer"))
        # Under the file's lock: a beat in between would write over it.
        owner_file, current = folder_lock._LocalFile(str(tmp_path)), None
        while current := owner_file.claim(successor, over=current):
            pass
        with pytest.raises(FolderLost, match=r"taken over by Trainer, process .* on node-7"):
            wait_for(lambda: held.check() is not None)
    # It is the successor's.
    assert Owner.from_text(file.read_text()) == successor


def _beats(file: Path) -> int:
    owner = Owner.from_text(file.read_text())
    return 0 if owner is None else owner.beat


def test_a_folder_that_is_removed_while_it_is_held_stays_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "BEAT_SECONDS", 0.05)
    folder = tmp_path / "state"
    with hold(str(folder), "Trainer"):
        (folder / folder_lock.FILE).unlink()
        folder.rmdir()
        time.sleep(0.2)
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), hold(str(tmp_path / "file" / "x"), "Trainer"):
        pytest.fail("held")


def test_an_address_is_held_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_lock, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(folder_lock, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(folder_lock, "DEAD_SECONDS", 0.3)
    folder = f"ram://{os.getpid()}/state"
    with hold(folder, "Trainer") as held:
        assert folder_lock.is_held_here(folder)
        with pytest.raises(FolderHeld), hold(folder, "Trainer"):
            pytest.fail("two hold the folder")
        time.sleep(0.2)
        held.check()
    assert not folder_lock.is_held_here(folder)


def test_a_forked_child_neither_holds_nor_frees(tmp_path: Path) -> None:
    with hold(str(tmp_path), "draw run"):
        child = multiprocessing.get_context("fork").Process(target=os._exit, args=(0,))
        child.start()
        child.join()
        assert folder_lock.is_held_here(str(tmp_path))
