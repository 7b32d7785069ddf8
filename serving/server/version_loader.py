"""Loads a version: reads its files into memory, checks its graph, and warms it up.

TensorFlow reads a checkpoint while it holds Python's lock. A disk that does not answer would then stop every thread of
the server, down to its signals; so Python reads the files, and TensorFlow gets them from its own file system in memory.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from serving import saved_model
from serving.reference.model_reference import REFERENCE_FILE
from serving.server import graph_ops, memory_budget, status_error, warmup_replay
from serving.server.servable import Servable, Signature

_CHUNK_BYTES = 2**24
_MAX_GRAPH_BYTES = 2**31 - 1
"""Protobuf's bound."""
_MAX_REFERENCE_BYTES = 2**22
"""Four scores of a data set with labels have a tenth of it."""

_log = logging.getLogger(__name__)


def load_version(
    model: str,
    version: int,
    path: pathlib.Path,
    report: Callable[[str], None],
    *,
    allow_unsafe_ops: bool,
    max_rows: int,
) -> Servable:
    """Loads a version from its folder, and replays its warm-up requests.

    Args:
      model: the model's name.
      version: its number.
      path: its folder.
      report: called with what is done now, as in "it still reads FILE".
      allow_unsafe_ops: whether it may have operations that do more than compute.
      max_rows: most rows of a warm-up request.

    Raises:
      StatusError: where the version cannot be served; INTERNAL, RESOURCE_EXHAUSTED or UNAVAILABLE where its files are
        not known to be at fault.
      Exception: whatever else TensorFlow raises.
    """
    began = time.perf_counter()
    with _Memory() as memory:
        try:
            graph = _copy_graph(path, memory, report, allow_unsafe_ops=allow_unsafe_ops)
            _copy_others(path, memory, report)
            report(f"makes the functions of {path}")
            functions = _load(memory.path)
            signatures = {
                name: Signature(definition, functions[name])
                for name, definition in sorted(graph.signature_def.items())
                if name in functions
            }
            servable = Servable(model, version, path, signatures, _task(memory.path), _reference(memory.path))
            requests = warmup_replay.replay_warmup(servable, memory.path, report, max_rows=max_rows)
        except Exception as error:
            reason = status_error.from_exception(error)
            raise status_error.StatusError(reason.code, reason.message.replace(memory.path, str(path))) from error
    _log.info(
        "Loaded version %d of %s in %.1f s and warmed it with %d requests; it has signatures %s",
        version,
        model,
        time.perf_counter() - began,
        requests,
        ", ".join(servable.signatures),
    )
    return servable


class _Memory:
    """A folder in TensorFlow's file system in memory; the end of a with block removes its files."""

    def __init__(self) -> None:
        self.path = f"ram://draw-serve/{uuid.uuid4()}"
        self._files: list[str] = []
        self._left = memory_budget.default_capacity()

    def __enter__(self) -> _Memory:
        return self

    def __exit__(self, *error: object) -> None:
        # One by one: this file system takes assets.extra for a part of assets, and then cannot remove either.
        for file in self._files:
            tf.io.gfile.remove(file)

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Writes a new file. Raises StatusError where all files take more memory than a version may."""
        path = f"{self.path}/{name}"
        tf.io.gfile.makedirs(os.path.dirname(path))
        with tf.io.gfile.GFile(path, "wb") as file:
            self._files.append(path)
            for chunk in chunks:
                self._left -= len(chunk)
                if self._left < 0:
                    raise status_error.StatusError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"{path} and the files before it take more than half of the memory that there is.",
                    )
                file.write(chunk)


def _copy_graph(
    path: pathlib.Path, memory: _Memory, report: Callable[[str], None], *, allow_unsafe_ops: bool
) -> meta_graph_pb2.MetaGraphDef:
    """Copies the graph that is for serving, and only this, if its operations are safe."""
    report(f"reads {path / saved_model.GRAPH_FILE}")
    with _reading(path / saved_model.GRAPH_FILE) as file:
        if os.fstat(file.fileno()).st_size > _MAX_GRAPH_BYTES:
            raise status_error.invalid(f"{path / saved_model.GRAPH_FILE} has more bytes than a message can have.")
        content = file.read()
    try:
        graph = saved_model.serving_graph(content, path)
    except saved_model.NoServingGraph as error:
        raise status_error.StatusError(grpc.StatusCode.NOT_FOUND, str(error)) from error
    except saved_model.NotASavedModel as error:
        raise status_error.invalid(str(error)) from error
    if not allow_unsafe_ops:
        graph_ops.drop_saver(graph)
        if unsafe := graph_ops.unsafe_ops(graph):
            raise status_error.StatusError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{path} has operations that do more than compute: {', '.join(unsafe)}. They may read and write files, "
                "call other hosts, or run code in this process; --allow_unsafe_ops trusts all models with that.",
            )
    checked = saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[graph])
    memory.write(saved_model.GRAPH_FILE, [checked.SerializeToString()])
    return graph


def _copy_others(path: pathlib.Path, memory: _Memory, report: Callable[[str], None]) -> None:
    """Copies the variables, the assets and the warm-up requests."""
    names = [warmup_replay.FILE] if (path / warmup_replay.FILE).exists() else []
    for folder in ("variables", "assets"):
        report(f"lists {path / folder}")
        for parent, _, files in os.walk(path / folder):
            names += (os.path.relpath(os.path.join(parent, file), path) for file in files)
    for name in names:
        report(f"reads {path / name}")
        with _reading(path / name) as file:
            memory.write(name, iter(lambda: file.read(_CHUNK_BYTES), b""))


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file; whatever keeps it from being read may be over later."""
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise status_error.StatusError(grpc.StatusCode.UNAVAILABLE, f"Cannot read {path}: {error}") from error


def _load(memory: str) -> Mapping[str, saved_model.Signature]:
    try:
        return saved_model.SavedModel(memory).signatures
    # All its files are in memory, so it is they that are wrong.
    except (ValueError, LookupError, TypeError, AttributeError, FileNotFoundError) as error:
        raise status_error.invalid(f"TensorFlow cannot load it: {type(error).__name__}: {error}") from error


def _task(memory: str) -> Mapping[str, Any] | None:
    try:
        task = saved_model.read_task(memory)
    except ValueError:
        return None
    return None if task is None else task.values


def _reference(memory: str) -> str | None:
    path = os.path.join(memory, REFERENCE_FILE)
    if not tf.io.gfile.exists(path) or tf.io.gfile.stat(path).length > _MAX_REFERENCE_BYTES:
        return None
    with tf.io.gfile.GFile(path, "rb") as file:
        return bytes(file.read()).decode(errors="replace")
