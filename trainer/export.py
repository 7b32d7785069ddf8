"""Exports the weights as a SavedModel: signatures whose row i depends on row i of the input alone."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from trainer import draw, examples, randomness
from trainer.task import Attention, Task

Outputs = dict[str, tf.Tensor]


class Signatures(tf.Module):
    """The functions that a server calls. All randomness comes from the caller's seeds [n, 2] int64, one a row.

    Images are float32 [n, B, A, C] in [0, 1], 0 or 1 for a binarised task. Anything else raises InvalidArgumentError
    with the reason, which a server answers as INVALID_ARGUMENT.
    """

    def __init__(self, task: Task, parameters: Mapping[str, np.ndarray], task_file: str) -> None:
        super().__init__(name="draw")
        self._task = task
        self._parameters = {name: tf.Variable(value, trainable=False, name=name) for name, value in parameters.items()}
        self.task_json = tf.saved_model.Asset(task_file)
        seed = tf.TensorSpec([None, 2], tf.int64, name="seed")
        image = tf.TensorSpec([None, *task.image_shape], tf.float32, name="image")
        serialized = tf.TensorSpec([None], tf.string, name="examples")
        self.sample = tf.function(self._sample, input_signature=[seed], autograph=False)
        self.sample_sequence = tf.function(self._sample_sequence, input_signature=[seed], autograph=False)
        self.score = tf.function(self._score, input_signature=[image, seed], autograph=False)
        self.score_examples = tf.function(self._score_examples, input_signature=[serialized], autograph=False)
        self.reconstruct = tf.function(self._reconstruct, input_signature=[image, seed], autograph=False)

    def _sample(self, seed: tf.Tensor) -> Outputs:
        """`image` [n, B, A, C]: the means sigm(c_T) of images drawn from the prior."""
        z = self._noise(seed)
        return {"image": tf.sigmoid(draw.generate(self._parameters, z, self._task).canvas)}

    def _sample_sequence(self, seed: tf.Tensor) -> Outputs:
        """`canvas` [n, T, B, A, C]: sigm(c_t), the last one being `sample`'s image; `write_window` [n, T, 5]."""
        generation = draw.generate(self._parameters, self._noise(seed), self._task, trace=True)
        return {"canvas": _by_row(tf.sigmoid(generation.canvases)), **self._windows(write=generation.write_windows)}

    def _score(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        """`nll_bound`, `reconstruction`, `kl`, `log_weight` [n] and `kl_per_step` [n, T], in nats."""
        return _scores(self._infer(image, seed))

    def _score_examples(self, serialized: tf.Tensor) -> Outputs:
        """As `score`, of serialized tf.Examples; an example's noise comes from its id."""
        _require(tf.size(serialized) > 0, "The batch is empty: send at least one example.")
        raw, ids = examples.parse(serialized, self._task)
        image = tf.cast(raw, tf.float32)
        return _scores(self._infer(image if self._task.binary else image / 255, randomness.seeds_of_ids(ids)))

    def _reconstruct(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        """`image` [n, B, A, C]: sigm(c_T); `canvas` [n, T, B, A, C]; `read_window` and `write_window` [n, T, 5]."""
        inference = self._infer(image, seed, trace=True)
        return {
            "image": tf.sigmoid(inference.canvas),
            "canvas": _by_row(tf.sigmoid(inference.canvases)),
            **self._windows(read=inference.read_windows, write=inference.write_windows),
        }

    def _noise(self, seed: tf.Tensor) -> tf.Tensor:
        _require(tf.shape(seed)[0] > 0, "The batch is empty: send at least one seed.")
        return randomness.row_noise(self._task, seed)

    def _infer(self, image: tf.Tensor, seed: tf.Tensor, *, trace: bool = False) -> draw.Inference:
        rows = tf.shape(image)[0]
        same = tf.shape(seed)[0] == rows
        checks = [
            _require(rows > 0, "The batch is empty: send at least one image."),
            _require(same, "`image` and `seed` must have the same number of rows:", rows, tf.shape(seed)[0]),
        ]
        if self._task.binary:
            allowed = tf.reduce_all(tf.logical_or(tf.equal(image, 0.0), tf.equal(image, 1.0)))
            reason = "Every pixel of `image` must be 0 or 1: this model was trained on binarised images."
        else:
            # Written so that a NaN fails it.
            allowed = tf.reduce_all(tf.logical_and(image >= 0.0, image <= 1.0))
            reason = "Every pixel of `image` must lie in [0, 1]: divide intensities by 255."
        checks.append(_require(allowed, reason))
        # Nothing is computed before: another operation that fails on the same input would hide the reason.
        with tf.control_dependencies(checks):
            image, seed = tf.identity(image), tf.identity(seed)
        return draw.infer(self._parameters, image, randomness.row_noise(self._task, seed), self._task, trace=trace)

    def _windows(self, **windows: tf.Tensor | None) -> Outputs:
        """(centre x, centre y, stride, variance, intensity) in pixels; (0, 0) is the centre of the top left pixel."""
        if not isinstance(self._task.attention, Attention):
            return {}
        return {f"{name}_window": _by_row(window) for name, window in windows.items()}


def export(task: Task, parameters: Mapping[str, np.ndarray], directory: str) -> None:
    """Writes the SavedModel, with the resolved task as assets/task.json. Loading it needs TensorFlow alone."""
    with tempfile.TemporaryDirectory() as scratch:
        task_file = pathlib.Path(scratch) / "task.json"
        task_file.write_text(task.to_json(), encoding="utf-8")
        module = Signatures(task, parameters, str(task_file))
        names = ("sample", "sample_sequence", "score", "score_examples", "reconstruct")
        signatures = {name: getattr(module, name) for name in names}
        tf.saved_model.save(module, directory, signatures={**signatures, "serving_default": module.sample})


def _require(condition: tf.Tensor, message: str, *values: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(condition, [message, *values])


def _scores(inference: draw.Inference) -> Outputs:
    return {
        "nll_bound": inference.nll_bound,
        "reconstruction": inference.reconstruction,
        "kl": tf.reduce_sum(inference.kl, axis=0),
        "kl_per_step": tf.transpose(inference.kl),
        "log_weight": inference.log_weight,
    }


def _by_row(trace: tf.Tensor) -> tf.Tensor:
    """[T, n, ...] to [n, T, ...]."""
    return tf.transpose(trace, [1, 0, *range(2, trace.shape.rank)])
