"""The signatures of a generative model. All randomness is the caller's: seeds [n, 2] int64, or the noise itself."""

from __future__ import annotations

import tensorflow as tf

from trainer.export.signatures import Outputs, Signatures, by_row, image_spec, require, require_pixels
from trainer.model import draw
from trainer.task import GenerativeTask
from trainer.training import input_pipeline, randomness

_GREATEST_LATENT = 1e6
"""Beyond it, sums of products may leave float32's range, and the answer would be a NaN."""


class GenerativeSignatures(Signatures):
    """Draws images, scores them and reconstructs them, from seeds or by the latent variables themselves."""

    _task: GenerativeTask

    @staticmethod
    def inputs(task: GenerativeTask) -> dict[str, list[tf.TensorSpec]]:
        """Seeds, latent variables, images with either, or serialized tf.Examples."""
        seed = tf.TensorSpec([None, 2], tf.int64, name="seed")
        image = image_spec(task)
        serialized = tf.TensorSpec([None], tf.string, name="examples")
        z, eps = (
            tf.TensorSpec([None, task.glimpses, task.latent_size], tf.float32, name=name) for name in ("z", "eps")
        )
        return {
            "sample": [seed],
            "sample_sequence": [seed],
            "score": [image, seed],
            "score_examples": [serialized],
            "reconstruct": [image, seed],
            "decode": [z],
            "decode_sequence": [z],
            "encode": [image, eps],
        }

    def _sample(self, seed: tf.Tensor) -> Outputs:
        """`image` [n, B, A, C]: the means sigm(c_T) of images drawn from the prior."""
        return self._image(self._noise(seed))

    def _sample_sequence(self, seed: tf.Tensor) -> Outputs:
        """`canvas` [n, T, B, A, C]: sigm(c_t), the last one being `sample`'s image; `write_window` [n, T, 5]."""
        return self._sequence(self._noise(seed))

    def _decode(self, z: tf.Tensor) -> Outputs:
        """`image` [n, B, A, C]: the means sigm(c_T) of the latent variables, [n, T, Z]; `sample`'s for its noise."""
        return self._image(_latents(z))

    def _decode_sequence(self, z: tf.Tensor) -> Outputs:
        """The outputs of `sample_sequence` for the latent variables, [n, T, Z]."""
        return self._sequence(_latents(z))

    def _encode(self, image: tf.Tensor, eps: tf.Tensor) -> Outputs:
        """`z` = mu + sigma eps, `mu`, `log_sigma` [n, T, Z]; `kl_per_step` [n, T] and `nll_bound` [n], in nats."""
        with tf.control_dependencies(self._image_checks(image, eps=eps)):
            image, eps = tf.identity(image), tf.identity(eps)
        inference = draw.infer(self._weights, image, _latents(eps), self._task, latents=True, scan=self._scan)
        latents = {"z": inference.z, "mu": inference.mu, "log_sigma": inference.log_sigma}
        return {
            **{name: by_row(value) for name, value in latents.items()},
            "kl_per_step": tf.transpose(inference.kl),
            "nll_bound": inference.nll_bound,
        }

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

    def _image(self, z: tf.Tensor) -> Outputs:
        return {"image": tf.sigmoid(draw.generate(self._weights, z, self._task, scan=self._scan).canvas)}

    def _sequence(self, z: tf.Tensor) -> Outputs:
        generation = draw.generate(self._weights, z, self._task, trace=True, scan=self._scan)
        return {"canvas": by_row(tf.sigmoid(generation.canvases)), **_windows(write=generation.write_windows)}

    def _noise(self, seed: tf.Tensor) -> tf.Tensor:
        require(tf.shape(seed)[0] > 0, "The batch is empty: send at least one seed.")
        return randomness.row_noise(self._task, seed)

    def _infer(self, image: tf.Tensor, seed: tf.Tensor, *, trace: bool = False) -> draw.Inference:
        # Nothing is computed before: another operation that fails on the same input would hide the reason.
        with tf.control_dependencies(self._image_checks(image, seed=seed)):
            image, seed = tf.identity(image), tf.identity(seed)
        noise = randomness.row_noise(self._task, seed)
        return draw.infer(self._weights, image, noise, self._task, trace=trace, scan=self._scan)

    def _image_checks(self, image: tf.Tensor, **other: tf.Tensor) -> list[tf.Operation]:
        """What must hold of the images and of the one input beside them."""
        ((name, value),) = other.items()
        rows, others = tf.shape(image)[0], tf.shape(value)[0]
        return [
            require(rows > 0, "The batch is empty: send at least one image."),
            require(rows == others, f"`image` and `{name}` must have the same number of rows:", rows, others),
            require_pixels(image, self._task),
        ]


def _latents(z: tf.Tensor) -> tf.Tensor:
    """Latent variables or noise of a request, [n, T, Z], as the model takes them: [T, n, Z]."""
    checks = [
        require(tf.shape(z)[0] > 0, "The batch is empty: send at least one row of latent variables."),
        # Written so that a NaN fails it.
        require(
            tf.reduce_all(tf.abs(z) <= _GREATEST_LATENT),
            f"Every latent variable must be a number from -{_GREATEST_LATENT:g} to {_GREATEST_LATENT:g}: they are "
            "standard normal.",
        ),
    ]
    with tf.control_dependencies(checks):
        return by_row(tf.identity(z))


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
