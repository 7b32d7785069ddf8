"""The process of `draw serve`: reads TF Serving's files, serves until a signal, and logs to standard error."""

from __future__ import annotations

import logging
import pathlib
import signal
import sys
import threading
from types import FrameType

import tensorflow as tf

from serving.server import live_page_files
from serving.server.batching import BatchingParameters
from serving.server.config_files import read_batching as _read_batching
from serving.server.config_files import read_monitoring
from serving.server.server import Server
from serving.server.server_config import ServerConfig, models_from_folder
from serving.server.status_error import StatusError

__all__ = [
    "ServerConfig",
    "StatusError",
    "channel_arguments",
    "models_from_folder",
    "read_batching",
    "read_monitoring",
    "serve_until_signal",
]

_log = logging.getLogger(__name__)


def read_batching(path: pathlib.Path | None) -> BatchingParameters:
    """Reads the parameters in the file; None gives TF Serving's defaults. Raises as `config_files.read_batching`."""
    return BatchingParameters() if path is None else _read_batching(path)


def channel_arguments(text: str) -> dict[str, int | str]:
    """Parses `key=value,key=value`, with whole numbers as such. Raises ValueError on anything else."""
    arguments: dict[str, int | str] = {}
    for pair in text.split(","):
        key, equals, value = pair.strip().partition("=")
        if not key or not equals:
            raise ValueError(f"grpc_channel_arguments has {pair!r}; expected key=value,key=value.")
        arguments[key] = int(value) if value.removeprefix("-").isdigit() else value
    return arguments


def serve_until_signal(config: ServerConfig, *, intra_op_threads: int = 0, inter_op_threads: int = 0) -> None:
    """Serves until SIGTERM or SIGINT, and returns when what was under way is answered.

    The threads are TensorFlow's, for the parts of an operation and for operations; 0 leaves the choice to it.

    Raises:
      OSError, ValueError, StatusError: as `Server.start`.
    """
    _log_to_stderr()
    if intra_op_threads:
        tf.config.threading.set_intra_op_parallelism_threads(intra_op_threads)
    if inter_op_threads:
        tf.config.threading.set_inter_op_parallelism_threads(inter_op_threads)
    stop_requested = threading.Event()

    def request_stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop_requested.set()

    # Before the models are loaded, so that a signal during the loading ends the server in the same way.
    handlers = {number: signal.signal(number, request_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    server = Server(config)
    try:
        server.start()
        url = f"http://{config.host}:{server.rest_port}"
        rest = f", REST at {url}/v1/models" if server.rest_port else ""
        _log.info("Serving gRPC at %s:%d%s", config.host, server.grpc_port, rest)
        if server.rest_port and config.live_page:
            _log.info("To watch it draw, and to draw yourself: %s%s", url, live_page_files.PATH)
        stop_requested.wait()
        _log.info("Stopping: requests under way have %g s", config.grace_seconds)
    finally:
        server.stop()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    _log.info("Stopped")


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("serving")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
