"""A process that reads large JSON bodies, for parsing holds Python's lock and needs much memory while it lasts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import queue
import resource
import signal
import subprocess
import sys
from concurrent import futures
from typing import Any

from serving import child_process
from serving.rest_json import bodies

_READERS = {"predict": bodies.read_predict, "classify": bodies.read_classify}
_INLINE_BYTES = 32 * 2**10
_THREAD_BYTES = 2**20
_PROCESSES = 2
_MAX_SECONDS = 20
_MAX_MEMORY = 6 * 2**30
"""Of a process's addresses; those that `bodies.MAX_ELEMENTS` lists need are a third of it."""
_KEPT_BYTES = 8 * 2**20
"""A process that has read a larger body ends, because Python does not give its memory back."""


class ReaderFailed(Exception):
    """A body that took too long or too much memory to read."""


class BodyReader:
    """Reads bodies: small ones where they are, those beyond 32 KiB on a thread, those beyond 1 MiB in a process."""

    def __init__(self) -> None:
        self._threads = futures.ThreadPoolExecutor(1, "json")
        self._waiters = futures.ThreadPoolExecutor(_PROCESSES, "json-process")
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()

    async def read(self, kind: str, body: bytes) -> Any:
        """Reads a body as `bodies.read_predict` or `bodies.read_classify` does.

        Raises:
          ValueError: where it is no such request, with the reason.
          ReaderFailed: where it takes too long or too much memory.
        """
        if len(body) <= _INLINE_BYTES:
            return _READERS[kind](body)
        loop = asyncio.get_running_loop()
        if len(body) <= _THREAD_BYTES:
            return await loop.run_in_executor(self._threads, _READERS[kind], body)
        return await loop.run_in_executor(self._waiters, self._read_in_process, kind, body)

    def close(self) -> None:
        """Ends the threads and the processes, when they have read what they read."""
        self._threads.shutdown()
        self._waiters.shutdown()
        while not self._idle.empty():
            _end(self._idle.get())

    def _read_in_process(self, kind: str, body: bytes) -> Any:
        process = self._process()
        kept = False
        try:
            assert process.stdin is not None and process.stdout is not None
            pickle.dump((kind, body), process.stdin, pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            request, reason = pickle.load(process.stdout)
            kept = len(body) <= _KEPT_BYTES
        except (OSError, EOFError, pickle.UnpicklingError):
            raise ReaderFailed(
                f"The body's {len(body)} bytes take more than {_MAX_SECONDS} s or {_MAX_MEMORY >> 30} GiB to read: "
                "send fewer rows."
            ) from None
        finally:
            if kept:
                self._idle.put(process)
            else:
                _end(process)
        if reason is not None:
            raise ValueError(reason)
        return request

    def _process(self) -> subprocess.Popen[bytes]:
        """Takes a process that waits for work, or starts one; the kernel may have ended one where memory was short."""
        with contextlib.suppress(queue.Empty):
            while (process := self._idle.get_nowait()).poll() is not None:
                _end(process)
            return process
        return _start()


def _start() -> subprocess.Popen[bytes]:
    # A session of its own, for Ctrl-C in a terminal is for the server, which answers first.
    return subprocess.Popen(
        child_process.safe_command(__name__),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_process.child_environment(),
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _main() -> None:
    """Answers each pickled (kind, body) with (request, None) or (None, reason), until its input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    while True:
        try:
            kind, body = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, _MAX_SECONDS)
        try:
            answer: tuple[Any, str | None] = (_READERS[kind](body), None)
        except ValueError as error:
            answer = (None, str(error))
        except MemoryError:
            os._exit(1)
        signal.setitimer(signal.ITIMER_REAL, 0)
        pickle.dump(answer, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()
