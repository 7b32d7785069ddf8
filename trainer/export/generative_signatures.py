"""The signatures of a generative model. All randomness comes from the caller's seeds, [n, 2] int64, one a row."""

from __future__ import annotations

import tensorflow as tf

from trainer.export.signatures import Outputs, Signatures, by_row, image_spec, require, require_pixels
from trainer.model import draw
from trainer.task import GenerativeTask
from trainer.training import input_pipeline, randomness


class GenerativeSignatures(Signatures):
    """Draws images, scores them and reconstructs them."""

    _task: GenerativeTask

    @staticmethod
    def inputs(task: GenerativeTask) -> dict[str, list[tf.TensorSpec]]:
        """Seeds, images with seeds, or serialized tf.Examples."""
        seed = tf.TensorSpec([None, 2], tf.int64, name="seed")
        image = image_spec(task)
        serialized = tf.TensorSpec([None], tf.string, name="examples")
        return {
            "sample": [seed],
            "sample_sequence": [seed],
            "score": [image, seed],
            "score_examples": [serialized],
            "reconstruct": [image, seed],
        }

    def _sample(self, seed: tf.Tensor) -> Outputs:
        """`image` [n, B, A, C]: the means sigm(c_T) of images drawn from the prior."""
        return {"image": tf.sigmoid(draw.generate(self._weights, self._noise(seed), self._task).canvas)}

    def _sample_sequence(self, seed: tf.Tensor) -> Outputs:
        """`canvas` [n, T, B, A, C]: sigm(c_t), the last one being `sample`'s image; `write_window` [n, T, 5]."""
        generation = draw.generate(self._weights, self._noise(seed), self._task, trace=True)
        return {"canvas": by_row(tf.sigmoid(generation.canvases)), **_windows(write=generation.write_windows)}

    def _score(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        """`nll_bound`, `reconstruction`, `kl`, `log_weight` [n] and `kl_per_step` [n, T], in nats."""
        return _scores(self._infer(image, seed))

    def _score_examples(self, serialized: tf.Tensor) -> Outputs:
        """The outputs of `score` for serialized tf.Examples, with the noise of each from its id."""
        require(tf.size(serialized) > 0, "The batch is empty: send at least one example.")
        image, ids = input_pipeline.images(serialized, self._task)
        return _scores(self._infer(image, randomness.seeds_for_ids(ids)))

    def _reconstruct(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        """`image` [n, B, A, C]: sigm(c_T); `canvas` [n, T, B, A, C]; `read_window` and `write_window` [n, T, 5]."""
        inference = self._infer(image, seed, trace=True)
        return {
            "image": tf.sigmoid(inference.canvas),
            "canvas": by_row(tf.sigmoid(inference.canvases)),
            **_windows(read=inference.read_windows, write=inference.write_windows),
        }

    def _noise(self, seed: tf.Tensor) -> tf.Tensor:
        require(tf.shape(seed)[0] > 0, "The batch is empty: send at least one seed.")
        return randomness.row_noise(self._task, seed)

    def _infer(self, image: tf.Tensor, seed: tf.Tensor, *, trace: bool = False) -> draw.Inference:
        rows = tf.shape(image)[0]
        same = tf.shape(seed)[0] == rows
        checks = [
            require(rows > 0, "The batch is empty: send at least one image."),
            require(same, "`image` and `seed` must have the same number of rows:", rows, tf.shape(seed)[0]),
            require_pixels(image, self._task),
        ]
        # Nothing is computed before: another operation that fails on the same input would hide the reason.
        with tf.control_dependencies(checks):
            image, seed = tf.identity(image), tf.identity(seed)
        return draw.infer(self._weights, image, randomness.row_noise(self._task, seed), self._task, trace=trace)


def _windows(**windows: tf.Tensor | None) -> Outputs:
    """(centre x, centre y, stride, variance, intensity) in pixels, where there is attention.

    (0, 0) is the centre of the top left pixel.
    """
    return {f"{name}_window": by_row(window) for name, window in windows.items() if window is not None}


def _scores(inference: draw.Inference) -> Outputs:
    return {
        "nll_bound": inference.nll_bound,
        "reconstruction": inference.reconstruction,
        "kl": tf.reduce_sum(inference.kl, axis=0),
        "kl_per_step": tf.transpose(inference.kl),
        "log_weight": inference.log_weight,
    }
