"""The signatures of a classifier: `classify`, and the same on tf.Examples for TF Serving's Classify."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from trainer.export.signatures import Outputs, Signatures, by_row, image_spec, require, require_pixels
from trainer.model import ram
from trainer.task import ClassifyingTask
from trainer.training import input_pipeline


class ClassifierSignatures(Signatures):
    """Names the class of an image, and says where the model looked."""

    METHODS: ClassVar[Mapping[str, str]] = {"classify_examples": "tensorflow/serving/classify"}

    _task: ClassifyingTask

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
        classification = ram.classify(self._weights, image, self._task, trace=True, scan=self._scan)
        return {
            "probabilities": tf.nn.softmax(classification.logits),
            "label": tf.argmax(classification.logits, axis=1),
            "glimpse_window": by_row(classification.windows),
        }

    def _classify_examples(self, serialized: tf.Tensor) -> Outputs:
        """TF Serving's Classify: `classes`, the labels as text, and `scores`, their probabilities, [n, classes]."""
        require(tf.size(serialized) > 0, "The batch is empty: send at least one example.")
        image, _ = input_pipeline.images(serialized, self._task)
        scores = self._classify(image)["probabilities"]
        labels = tf.constant([str(label) for label in range(self._task.classes)])
        return {"classes": tf.tile(labels[None], [tf.shape(scores)[0], 1]), "scores": scores}
