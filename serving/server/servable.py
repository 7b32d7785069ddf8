"""One loaded version of a SavedModel: its signatures, what they take, and how many requests use it."""

from __future__ import annotations

import functools
import pathlib
import threading
from collections.abc import Mapping

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from serving.server import status_error
from serving.server.tensor_protos import TensorSpec

GRAPH_FILE = "saved_model.pb"
"""The file that makes a folder a version; without it, the folder may be half copied."""

DEFAULT_SIGNATURE = "serving_default"

Arrays = dict[str, np.ndarray]


class Signature:
    """One function of a SavedModel, on NumPy arrays."""

    def __init__(
        self, name: str, definition: meta_graph_pb2.SignatureDef, function: tf.types.experimental.ConcreteFunction
    ) -> None:
        self.name = name
        self.definition = definition
        self.inputs = {alias: _spec(info) for alias, info in sorted(definition.inputs.items())}
        self.outputs = {alias: _spec(info) for alias, info in sorted(definition.outputs.items())}
        self._function = function

    @functools.cached_property
    def has_rows(self) -> bool:
        """Whether the first dimension of all it takes and gives is open, so that requests may travel together."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(spec.has_rows for spec in specs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> Arrays:
        """Computes the outputs for inputs that fit. Other Python threads run while TensorFlow computes."""
        tensors = {alias: tf.constant(value, self.inputs[alias].dtype) for alias, value in inputs.items()}
        return {alias: value.numpy() for alias, value in self._function(**tensors).items()}


class Servable:
    """A version in memory. It stays there until the last request that it works for is answered."""

    def __init__(self, model: str, version: int, path: pathlib.Path) -> None:
        """Loads the version from its folder.

        Raises:
          StatusError: where the folder holds no SavedModel for serving.
          Exception: whatever TensorFlow raises on a broken one.
        """
        self.model = model
        self.version = version
        self.path = path
        definitions = _definitions(path)
        # Kept while the signatures are in use, because it owns their variables.
        self._loaded = tf.saved_model.load(str(path), tags=[tf.saved_model.SERVING])
        functions = self._loaded.signatures
        self.signatures = {
            name: Signature(name, definition, functions[name])
            for name, definition in sorted(definitions.items())
            if name in functions
        }
        self._leases = 0
        self._idle = threading.Condition()

    def acquire(self) -> None:
        """Keeps it in memory until `release`."""
        with self._idle:
            self._leases += 1

    def release(self) -> None:
        """Ends one `acquire`."""
        with self._idle:
            self._leases -= 1
            self._idle.notify_all()

    def wait_until_idle(self, timeout: float) -> bool:
        """Waits until nobody uses it; returns False where that takes longer than so many seconds."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._leases, timeout)


def _definitions(path: pathlib.Path) -> Mapping[str, meta_graph_pb2.SignatureDef]:
    try:
        saved = saved_model_pb2.SavedModel.FromString((path / GRAPH_FILE).read_bytes())
    except DecodeError as error:
        raise status_error.invalid(f"{path / GRAPH_FILE} is no SavedModel: {error}") from error
    for graph in saved.meta_graphs:
        if tf.saved_model.SERVING in graph.meta_info_def.tags:
            return graph.signature_def
    tags = sorted({tag for graph in saved.meta_graphs for tag in graph.meta_info_def.tags})
    raise status_error.StatusError(
        grpc.StatusCode.NOT_FOUND, f"{path} has no graph tagged {tf.saved_model.SERVING!r}, only {tags}: export one."
    )


def _spec(info: meta_graph_pb2.TensorInfo) -> TensorSpec:
    shape = tf.TensorShape(info.tensor_shape)
    return TensorSpec(tf.as_dtype(info.dtype), None if shape.rank is None else tuple(shape.as_list()))
