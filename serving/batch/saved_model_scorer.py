"""A SavedModel that scores images in this process."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from serving.batch.blocks import Refused
from serving.client.answers import SCORE_OUTPUTS, Scores
from serving.cores import cores
from serving.images.image_format import ImageFormat
from serving.saved_model import load, refusal, require_signature, require_task

SIGNATURE = "score"
_ROWS_A_SLICE = 64


class SavedModelScorer:
    """The signature `score` of a SavedModel. Threads may share it."""

    def __init__(self, directory: str) -> None:
        """Loads the model. Raises ValueError if there is none that scores, or it is damaged."""
        _one_thread_an_operation()
        self._signature = load(directory).signature(SIGNATURE)
        self._slices = 1 if _has_accelerator() else cores()
        self._threads = ThreadPoolExecutor(self._slices)

    def score(self, image: np.ndarray, seed: np.ndarray) -> Scores:
        """Scores images [n, H, W, C] float32 with seeds [n, 2] int64. Raises Refused if the model refuses them."""
        slices = min(self._slices, -(-len(image) // _ROWS_A_SLICE))
        parts = list(self._threads.map(self._call, np.array_split(image, slices), np.array_split(seed, slices)))
        return Scores(*(np.concatenate([getattr(part, name) for part in parts]) for name in SCORE_OUTPUTS))

    def _call(self, image: np.ndarray, seed: np.ndarray) -> Scores:
        try:
            outputs = self._signature.run({"image": image, "seed": seed}, SCORE_OUTPUTS)
        except tf.errors.InvalidArgumentError as error:
            raise Refused(refusal(error)) from error
        return Scores(*(outputs[name] for name in SCORE_OUTPUTS))


def image_format(directory: str) -> ImageFormat:
    """Returns the format of the images that the model scores, from its task. Loads nothing.

    Raises:
      ValueError: if the model lacks the signature.
      FileNotFoundError: if it has no task.
    """
    require_signature(directory, SIGNATURE)
    return require_task(directory).input_format()


def _one_thread_an_operation() -> None:
    """Has an operation take one thread, for slices of a batch are computed side by side.

    In a process that has started TensorFlow already its settings stay.
    """
    # Medians of three by benchmarks.score_batch, pretrained/mnist on two cores: 1,855 images/s; 1,259 with slices on
    # TensorFlow's own threads, 1,329 with neither.
    if _has_accelerator():
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(max(2, cores()))


def _has_accelerator() -> bool:
    return any(device.device_type in ("GPU", "TPU") for device in tf.config.list_physical_devices())
