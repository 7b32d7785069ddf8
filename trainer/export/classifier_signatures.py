"""The signatures of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow as tf

from trainer.export.signatures import Outputs, Signatures, by_row, image_spec, require, require_pixels
from trainer.model import ram
from trainer.task import ClassifyingTask
from trainer.training import input_pipeline


class ClassifierSignatures(Signatures):
    """Names the class of an image, and says where it looked."""

    NAMES: ClassVar[tuple[str, ...]] = ("classify", "classify_examples")
    METHODS: ClassVar[Mapping[str, str]] = {"classify_examples": "tensorflow/serving/classify"}

    def __init__(self, task: ClassifyingTask, parameters: Mapping[str, np.ndarray], task_file: str) -> None:
        super().__init__(task, parameters, task_file)
        self._task = task

    @staticmethod
    def inputs(task: ClassifyingTask) -> dict[str, list[tf.TensorSpec]]:
        """Images, or serialized tf.Examples under the name that TF Serving's Classify gives them."""
        serialized = tf.TensorSpec([None], tf.string, name="inputs")
        return {"classify": [image_spec(task)], "classify_examples": [serialized]}

    def _classify(self, image: tf.Tensor) -> Outputs:
        """`probabilities` [n, classes]; `label` [n] int64, the most probable class; `glimpse_window` [n, T, 5]."""
        checks = [
            require(tf.shape(image)[0] > 0, "The batch is empty: send at least one image."),
            require_pixels(image, self._task),
        ]
        # Nothing is computed before: another operation that fails on the same input would hide the reason.
        with tf.control_dependencies(checks):
            image = tf.identity(image)
        found = ram.classify(self._parameters, image, self._task, trace=True)
        return {
            "probabilities": tf.nn.softmax(found.logits),
            "label": tf.argmax(found.logits, axis=1),
            "glimpse_window": by_row(found.windows),
        }

    def _classify_examples(self, serialized: tf.Tensor) -> Outputs:
        """TF Serving's Classify: `classes`, the labels as text, and `scores`, their probabilities, [n, classes]."""
        require(tf.size(serialized) > 0, "The batch is empty: send at least one example.")
        image, _ = input_pipeline.images(serialized, self._task)
        scores = self._classify(image)["probabilities"]
        labels = tf.constant([str(label) for label in range(self._task.classes)])
        return {"classes": tf.tile(labels[None], [tf.shape(scores)[0], 1]), "scores": scores}
