"""A SavedModel that scores in this process, and what it says of the images that it takes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from serving.batch.pixels import ImageFormat
from serving.batch.scoring import Refused
from serving.client.answers import Scores

SIGNATURE = "score"
_ROWS_A_SLICE = 64


class SavedModelScorer:
    """The signature `score` of a SavedModel. Threads may share it."""

    def __init__(self, directory: str) -> None:
        """Loads it, of which `image_format` has said that it can score."""
        _one_thread_an_operation()
        # The model owns the variables that the signature uses, so it has to live as long.
        self._model = tf.saved_model.load(directory)
        self._signature = self._model.signatures[SIGNATURE]
        self._slices = 1 if _has_accelerator() else len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(self._slices)

    def score(self, image: np.ndarray, seed: np.ndarray) -> Scores:
        """Images [n, H, W, C] float32 and seeds [n, 2] int64 to their scores. Raises Refused."""
        slices = min(self._slices, -(-len(image) // _ROWS_A_SLICE))
        parts = list(self._threads.map(self._call, np.array_split(image, slices), np.array_split(seed, slices)))
        return Scores(*map(np.concatenate, zip(*parts, strict=True)))

    def _call(self, image: np.ndarray, seed: np.ndarray) -> Scores:
        try:
            outputs = self._signature(image=tf.constant(image, tf.float32), seed=tf.constant(seed, tf.int64))
        except tf.errors.InvalidArgumentError as error:
            raise Refused(_reason(error)) from error
        return Scores(**{name: outputs[name].numpy() for name in Scores._fields})


def image_format(directory: str) -> ImageFormat:
    """Of the images that the model scores, from the task that is written beside every export.

    Raises ValueError where that is not there, or the model lacks the signature. Loads nothing.
    """
    with tf.io.gfile.GFile(os.path.join(directory, "saved_model.pb"), "rb") as file:
        graphs = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs
    signatures = sorted({name for graph in graphs for name in graph.signature_def if not name.startswith("__")})
    if SIGNATURE not in signatures:
        raise ValueError(
            f"The SavedModel {directory} has no signature {SIGNATURE!r}, only {signatures}: only a generative model "
            "scores images."
        )
    path = os.path.join(directory, "assets", "task.json")
    if not tf.io.gfile.exists(path):
        raise ValueError(
            f"The SavedModel {directory} has no assets/task.json, so its images are not known. Export it with its task."
        )
    with tf.io.gfile.GFile(path) as file:
        task: Mapping[str, Any] = json.loads(file.read())
    height, width, channels = task["image_shape"]
    more_rows, more_columns = task["data"]["crop_margin"]
    return ImageFormat(
        shape=(height, width, channels),
        margin=(more_rows, more_columns),
        binary=task["binarisation"] != "none",
    )


def _one_thread_an_operation() -> None:
    """On CPU, slices of a batch side by side on a thread each are faster than one batch on all threads.

    Where TensorFlow has started already, in somebody else's process, its settings stay.
    """
    if _has_accelerator():
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(max(2, len(os.sched_getaffinity(0))))


def _has_accelerator() -> bool:
    return any(device.device_type in ("GPU", "TPU") for device in tf.config.list_physical_devices())


def _reason(error: tf.errors.InvalidArgumentError) -> str:
    """What the model's assertion says, without TensorFlow's account of where it stands."""
    message = error.message or str(error)
    _, found, said = message.partition("assertion failed: [")
    return said.partition("]")[0] if found else message.splitlines()[0]
