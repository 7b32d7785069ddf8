"""One loaded version of a SavedModel: its signatures, what they take, and how many requests use it."""

from __future__ import annotations

import functools
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving import saved_model
from serving.saved_model import Arrays
from serving.server.tensor_protos import TensorSpec


class Signature:
    """One function of a SavedModel, with the definition that requests are checked against."""

    def __init__(self, definition: meta_graph_pb2.SignatureDef, function: saved_model.Signature) -> None:
        self.name = function.name
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
        return self._function.run(inputs)


class Servable:
    """A version in memory. It stays there until the last request that it works for is answered."""

    def __init__(
        self,
        model: str,
        version: int,
        path: pathlib.Path,
        signatures: Mapping[str, Signature],
        task: Mapping[str, Any] | None,
        reference: str | None = None,
    ) -> None:
        self.model = model
        self.version = version
        self.path = path
        self.signatures = signatures
        self.task = task
        """What is written beside the model; None where it is from elsewhere."""
        self.reference = reference
        """The text of its reference, which clients check; None where it has none."""
        self._holders = 0
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Keeps it in memory until `release`."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """Ends one `acquire`."""
        with self._lock:
            self._holders -= 1

    @property
    def in_use(self) -> bool:
        """Whether it was acquired more often than released."""
        return self._holders > 0


def _spec(info: meta_graph_pb2.TensorInfo) -> TensorSpec:
    shape = tf.TensorShape(info.tensor_shape)
    return TensorSpec(tf.as_dtype(info.dtype), None if shape.rank is None else tuple(shape.as_list()))
