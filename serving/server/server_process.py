"""The process of `draw serve`: reads TF Serving's files, serves until a signal, and logs to standard error."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import queue
import signal
import sys
import threading
import time
from typing import NoReturn

import tensorflow as tf

from serving.cores import cores
from serving.server import live_page_files
from serving.server.server import Server
from serving.server.server_config import ServerConfig

_MARGIN_SECONDS = 2.0
"""That a stop may take longer than the grace period."""

_MAX_LINES = 10_000
_FLUSH_SECONDS = 1.0

_log = logging.getLogger(__name__)


def channel_arguments(text: str) -> dict[str, int | str]:
    """Parses `key=value,key=value`, with whole numbers as such. Raises ValueError on anything else."""
    arguments: dict[str, int | str] = {}
    for pair in text.split(","):
        key, equals, value = pair.strip().partition("=")
        if not key or not equals:
            raise ValueError(f"grpc_channel_arguments has {pair!r}; expected key=value,key=value.")
        arguments[key] = int(value) if value.removeprefix("-").isdigit() else value
    return arguments


def configure_threads(intra_op: int, inter_op: int) -> None:
    """Sets TensorFlow's threads before it starts, 0 for as many as cores; it would count a whole node's itself."""
    tf.config.threading.set_intra_op_parallelism_threads(intra_op or cores())
    tf.config.threading.set_inter_op_parallelism_threads(inter_op or cores())


def freeze_imports() -> None:
    """Has the garbage collector pass over what exists, TensorFlow's 400,000 objects, which live as long as the process.

    A full collection, which a busy server comes to every few seconds, stops every thread for 0.25 to 0.5 s
    with them, and for a few milliseconds without.
    """
    gc.collect()
    gc.freeze()


def serve_until_signal(config: ServerConfig, *, intra_op_threads: int = 0, inter_op_threads: int = 0) -> NoReturn:
    """Serves until SIGTERM, SIGINT or SIGHUP, answers what is under way, and ends the process; at once at the second.

    The threads are TensorFlow's, for the parts of an operation and for operations; 0 takes one for each core.

    Raises:
      OSError, ValueError, StatusError: as `Server.start`.
    """
    _log_to_stderr()
    configure_threads(intra_op_threads, inter_op_threads)
    freeze_imports()
    # This thread waits for events alone, so that nothing that loads, or waits for a disk, is in the way of a signal.
    # A SimpleQueue's `put` may be called by a handler while this thread is in `get`.
    events: queue.SimpleQueue[signal.Signals | Exception | None] = queue.SimpleQueue()
    # What is ignored was meant to be: nohup does that.
    numbers = [n for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, lambda n, _: events.put(signal.Signals(n))) for number in numbers}
    server = Server(config)

    def start() -> None:
        try:
            if server.start():
                _announce(server, config)
        except Exception as error:
            events.put(error)

    def stop() -> None:
        server.stop()
        events.put(None)

    threading.Thread(target=start, name="start", daemon=True).start()
    event = events.get()
    if isinstance(event, Exception):
        for number, handler in handlers.items():
            signal.signal(number, handler)
        raise event
    assert event is not None
    _log.info("Stopping for %s: requests under way have %g s", event.name, config.grace_seconds)
    threading.Thread(target=stop, name="stop", daemon=True).start()
    try:
        event = events.get(timeout=config.grace_seconds + _MARGIN_SECONDS)
    except queue.Empty:
        _exit(1, "Stopped without an answer to some requests")
    if isinstance(event, signal.Signals):
        _exit(128 + event, f"Stopped at once, for a second signal ({event.name})")
    _exit(0, "Stopped")


def _announce(server: Server, config: ServerConfig) -> None:
    host = f"[{config.host}]" if ":" in config.host else config.host
    url = f"http://{host}:{server.rest_port}"
    rest = f", REST at {url}/v1/models/{next(iter(config.models), 'MODEL')}" if server.rest_port else ""
    _log.info("Serving gRPC at %s:%d%s", host, server.grpc_port, rest)
    if server.rest_port and config.live_page:
        _log.info("To watch it draw, and to draw yourself: %s%s", url, live_page_files.PATH)


def _exit(status: int, message: str) -> NoReturn:
    """Ends the process, whatever its threads do: one that waits for a disk, or computes, cannot be ended otherwise."""
    _log.info("%s", message)
    for handler in logging.getLogger("serving").handlers:
        handler.flush()
    os._exit(status)


class _StderrHandler(logging.Handler):
    """Writes to standard error on a thread: a terminal that is stopped with Ctrl-S must not stop the server."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S"))
        self._lines: queue.Queue[str] = queue.Queue(_MAX_LINES)
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Hands the record to the thread; it is lost where too many wait."""
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(self.format(record))

    def flush(self) -> None:
        """Waits a moment for what waits to be written."""
        until = time.monotonic() + _FLUSH_SECONDS
        while self._lines.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            with contextlib.suppress(OSError, ValueError):  # It is closed.
                print(line, file=sys.stderr, flush=True)
            self._lines.task_done()


def _log_to_stderr() -> None:
    logger = logging.getLogger("serving")
    logger.handlers[:] = [_StderrHandler()]
    logger.setLevel(logging.INFO)
    logger.propagate = False
