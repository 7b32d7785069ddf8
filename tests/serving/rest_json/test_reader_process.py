"""The process that reads large bodies, as a server starts it from wherever it runs."""

from __future__ import annotations

import asyncio
import os
import pathlib
import signal

import pytest

from serving.rest_json.bodies import PredictBody
from serving.rest_json.reader_process import BodyReader

_LARGE = b'{"inputs": [1, 2, 3]' + b" " * 2**20 + b"}"


def _read(reader: BodyReader) -> PredictBody:
    return asyncio.run(reader.read("predict", _LARGE))


def test_no_file_of_the_folder_that_the_server_runs_in_is_taken_for_a_module(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("numpy", "json", "queue"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('This is no module.')")
    monkeypatch.chdir(tmp_path)
    reader = BodyReader()
    try:
        assert _read(reader).columns[""].tolist() == [1, 2, 3]
    finally:
        reader.close()


def test_a_process_that_somebody_has_ended_is_replaced() -> None:
    """As the kernel does where memory is short."""
    reader = BodyReader()
    try:
        _read(reader)
        process = reader._idle.get_nowait()
        reader._idle.put(process)
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert _read(reader).columns[""].tolist() == [1, 2, 3]
    finally:
        reader.close()
