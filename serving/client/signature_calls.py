"""A method for each of DRAW's signatures, whoever answers: a server, or a model in this process."""

from __future__ import annotations

import abc
import operator
from collections.abc import Mapping
from collections.abc import Sequence as Series
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from serving.client import errors
from serving.client.answers import (
    SCORE_OUTPUTS,
    Classification,
    Latents,
    ModelMetadata,
    Reconstruction,
    Scores,
    Sequence,
)
from serving.client.channel import MAX_MESSAGE_BYTES
from serving.noise import seed_noise
from serving.reference.complexity import complexity
from serving.reference.image_scores import calibrated_scores
from serving.reference.model_reference import Reference

if TYPE_CHECKING:
    from serving.images.image_format import ImageFormat

Outputs = dict[str, np.ndarray]

_SHAPES = {
    "image": "n H W C",
    "canvas": "n T H W C",
    "write_window": "n T 5",
    "read_window": "n T 5",
    "glimpse_window": "n T 5",
    "nll_bound": "n",
    "reconstruction": "n",
    "kl": "n",
    "kl_per_step": "n T",
    "log_weight": "n",
    "probabilities": "n classes",
    "label": "n",
    "z": "n T Z",
    "mu": "n T Z",
    "log_sigma": "n T Z",
}
"""The contract's outputs. A letter is one size in all outputs of an answer; all are float32 but the label, int64."""

_Answers = TypeVar("_Answers", bound="SignatureCalls")


class SignatureCalls(abc.ABC):
    """DRAW's signatures as methods, NumPy arrays in and out.

    Every method raises a `ServingError`, whose class says what happened and whose message what to do.
    """

    model: str
    """The model's name."""

    def __enter__(self: _Answers) -> _Answers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def input_format(self) -> ImageFormat | None:
        """The images that the model takes, made from any that somebody has; None where the answerer cannot tell."""
        return None

    def class_names(self) -> tuple[str, ...]:
        """The name of each class of a classifier, in the order of its labels; empty where nobody tells them."""
        return ()

    @abc.abstractmethod
    def close(self) -> None:
        """Releases what the model holds; calls in flight are cancelled."""

    @abc.abstractmethod
    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        *,
        output_filter: tuple[str, ...] = (),
        timeout_seconds: float | None = None,
        expected: Series[str] = (),
    ) -> Outputs:
        """Calls any signature and returns its outputs by name; their row i belongs to row i of the inputs.

        Args:
          signature: the signature's name.
          inputs: arrays by name, all of the same number of rows; strings as bytes in an array of dtype object.
          output_filter: names of the outputs to return; all if empty.
          timeout_seconds: in place of the model's own; a model in this process takes the time it needs.
          expected: outputs that the answer must have.
        """

    @abc.abstractmethod
    def metadata(self) -> ModelMetadata:
        """Returns the signatures of the version that answers."""

    @abc.abstractmethod
    def window_size(self, side: str) -> int | None:
        """Returns N of the `read` or `write` window; None where that is not known."""

    @abc.abstractmethod
    def reference(self) -> Reference | None:
        """Returns what the model scores on its validation split; None where that is not known."""

    def _answer(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        timeout_seconds: float | None,
        expected: Series[str],
        *,
        with_reference: bool,
    ) -> tuple[Outputs, Reference | None]:
        """Calls a signature, and reads the reference of the version that answers; None for one that is no use."""
        outputs = self.predict(signature, inputs, timeout_seconds=timeout_seconds, expected=expected)
        try:
            return outputs, self.reference() if with_reference else None
        except errors.UnexpectedAnswer:
            return outputs, None

    def sample(
        self,
        n: int | None = None,
        *,
        seed: int = 0,
        seeds: np.ndarray | None = None,
        timeout_seconds: float | None = None,
    ) -> np.ndarray:
        """Draws images from the model: [n, H, W, C] float32, mean probabilities or intensities.

        Args:
          n: the number of images, with the seeds (seed, 0) to (seed, n - 1). A greater n begins with the same images.
          seed: the first half of all seeds.
          seeds: [n, 2] int64, a row an image, in place of n and seed.
          timeout_seconds: in place of the model's own; a model in this process takes the time it needs.
        """
        inputs = {"seed": _given_seeds(n, seed, seeds)}
        outputs = self.predict("sample", inputs, timeout_seconds=timeout_seconds, expected=("image",))
        return _checked(outputs)["image"]

    def sample_sequence(
        self,
        n: int | None = None,
        *,
        seed: int = 0,
        seeds: np.ndarray | None = None,
        timeout_seconds: float | None = None,
    ) -> Sequence:
        """Draws images as `sample` does, and returns every step."""
        inputs = {"seed": _given_seeds(n, seed, seeds)}
        return self._sequence("sample_sequence", inputs, timeout_seconds)

    def noise(self, n: int | None = None, *, seed: int = 0, seeds: np.ndarray | None = None) -> np.ndarray:
        """Draws standard normal noise, [n, T, Z] float32: what the model itself draws of these seeds.

        `decode` of it gives `sample`'s images, and `encode` with it as `eps` gives `score`'s bounds.
        """
        given = _given_seeds(n, seed, seeds)
        if given.ndim != 2 or given.shape[1] != 2 or given.dtype != np.int64 or not len(given):
            raise errors.BadInput(
                f"The seeds are {given.dtype} {list(given.shape)}; expected int64 [n, 2], n at least 1."
            )
        return seed_noise(given, *self.latent_shape())

    def decode(self, z: np.ndarray, *, timeout_seconds: float | None = None) -> np.ndarray:
        """Draws the images of latent variables [n, T, Z]: [n, H, W, C] float32, mean probabilities or intensities."""
        inputs = {"z": _latents(z, "z")}
        outputs = self.predict("decode", inputs, timeout_seconds=timeout_seconds, expected=("image",))
        return _checked(outputs)["image"]

    def decode_sequence(self, z: np.ndarray, *, timeout_seconds: float | None = None) -> Sequence:
        """Draws the images of latent variables as `decode` does, and returns every step."""
        return self._sequence("decode_sequence", {"z": _latents(z, "z")}, timeout_seconds)

    def encode(
        self, image: np.ndarray, *, eps: np.ndarray | None = None, timeout_seconds: float | None = None
    ) -> Latents:
        """Finds the latent variables of each image.

        Args:
          image: [n, H, W, C] float32 in [0, 1], and 0 or 1 for a binarised task.
          eps: the noise of z, [n, T, Z], standard normal; None for zeros, with which z is the mean of its posterior.
          timeout_seconds: in place of the model's own; a model in this process takes the time it needs.
        """
        pixels = _pixels(image)
        given = np.zeros((len(pixels), *self.latent_shape()), np.float32) if eps is None else _latents(eps, "eps")
        inputs = {"image": pixels, "eps": given}
        outputs = self.predict("encode", inputs, timeout_seconds=timeout_seconds, expected=Latents._fields)
        _checked(outputs)
        return Latents(**{name: outputs[name] for name in Latents._fields})

    def latent_shape(self) -> tuple[int, int]:
        """Returns T, the time-steps, and Z, the latent variables of each. Raises SignatureNotFound for none."""
        signatures = self.metadata().signatures
        if "decode" not in signatures:
            raise errors.SignatureNotFound(
                f"The model {self.model} has no signature 'decode', only {sorted(signatures)}: a generative model that "
                "was exported before there were latent variables gets it by `draw run --init-from MODEL --steps 0`."
            )
        spec = signatures["decode"].inputs.get("z")
        if spec is None or spec.shape is None or len(spec.shape) != 3:
            raise errors.UnexpectedAnswer(f"The model's decode takes no z [n, T, Z], but {spec}.")
        _, steps, latents = spec.shape
        if not steps or not latents or not 0 < 4 * steps * latents <= MAX_MESSAGE_BYTES:
            raise errors.UnexpectedAnswer(f"The model's decode takes z of {steps} steps of {latents}.")
        return steps, latents

    def score(
        self,
        image: np.ndarray,
        *,
        seed: int = 0,
        seeds: np.ndarray | None = None,
        timeout_seconds: float | None = None,
        calibrated: bool = True,
    ) -> Scores:
        """Computes the bound of each image and its parts, and where they fall in the model's reference.

        Args:
          image: [n, H, W, C] float32 in [0, 1], and 0 or 1 for a binarised task.
          seed: the seed of the noise; image i gets (seed, i).
          seeds: [n, 2] int64, a row an image, in place of seed.
          timeout_seconds: in place of the model's own; a model in this process takes the time it needs.
          calibrated: whether to compare with the reference, which is asked for once for each version that answers.
        """
        inputs = _image_and_seeds(image, seed, seeds)
        outputs, reference = self._answer("score", inputs, timeout_seconds, SCORE_OUTPUTS, with_reference=calibrated)
        _checked(outputs)
        scores = Scores(**{name: outputs[name] for name in SCORE_OUTPUTS})
        if reference is None:
            return scores
        statistics = dict(outputs)
        if reference.needs_complexity:
            statistics["complexity"] = complexity(inputs["image"])
        return scores._replace(**calibrated_scores(reference, statistics))  # type: ignore[arg-type]

    def reconstruct(
        self,
        image: np.ndarray,
        *,
        seed: int = 0,
        seeds: np.ndarray | None = None,
        timeout_seconds: float | None = None,
    ) -> Reconstruction:
        """Draws each image after; arguments as for `score`."""
        inputs = _image_and_seeds(image, seed, seeds)
        outputs = self.predict("reconstruct", inputs, timeout_seconds=timeout_seconds, expected=("image", "canvas"))
        _checked(outputs, given=inputs["image"])
        return Reconstruction(
            outputs["image"], outputs["canvas"], outputs.get("read_window"), outputs.get("write_window")
        )

    def _sequence(self, signature: str, inputs: Mapping[str, np.ndarray], timeout_seconds: float | None) -> Sequence:
        outputs = _checked(self.predict(signature, inputs, timeout_seconds=timeout_seconds, expected=("canvas",)))
        return Sequence(outputs["canvas"], outputs.get("write_window"))

    def classify(self, image: np.ndarray, *, timeout_seconds: float | None = None) -> Classification:
        """Classifies images [n, H, W, C] float32 in [0, 1]."""
        outputs = self.predict(
            "classify", {"image": _pixels(image)}, timeout_seconds=timeout_seconds, expected=("probabilities", "label")
        )
        classes = _checked(outputs)["probabilities"].shape[1]
        if outputs["label"].min() < 0 or outputs["label"].max() >= classes:
            raise errors.UnexpectedAnswer(f"The answer has labels that are none of its {classes} classes.")
        return Classification(outputs["probabilities"], outputs["label"], outputs.get("glimpse_window"))


def as_array(value: object, name: str) -> np.ndarray:
    """Makes an array of an input. Raises BadInput if it is none."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise errors.BadInput(f"{name} is no array: {error}.") from error


def row_count(inputs: Mapping[str, np.ndarray]) -> int:
    """Returns how many rows all inputs have. Raises BadInput where they have different numbers, or none."""
    rows = {name: array.shape[0] if array.ndim else None for name, array in inputs.items()}
    if len(set(rows.values())) != 1 or not all(rows.values()):
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items()) or "none"
        raise errors.BadInput(f"The inputs must have the same number of rows, at least 1; got {shapes}.")
    return next(iter(rows.values()))  # type: ignore[return-value]


def seed_rows(seed: int, n: int) -> np.ndarray:
    """Makes the seeds of n images: [n, 2] int64, rows (seed, 0) to (seed, n - 1).

    Raises BadInput if n is less than 1, or the seed no int64.
    """
    try:
        seed, n = operator.index(seed), operator.index(n)
    except TypeError as error:
        raise errors.BadInput(f"Got n = {n!r} and the seed {seed!r}; expected whole numbers.") from error
    if n < 1:
        raise errors.BadInput(f"Got n = {n}; expected at least 1.")
    if not -(2**63) <= seed < 2**63:
        raise errors.BadInput(f"The seed {seed} does not fit into 64 bits.")
    return np.stack([np.full(n, seed, np.int64), np.arange(n, dtype=np.int64)], axis=1)


def _checked(outputs: Outputs, given: np.ndarray | None = None) -> Outputs:
    """Returns the outputs, if dtypes and shapes are those of the contract; of images, those that were `given`."""
    sizes = {"5": 5}
    if given is not None:
        sizes.update(zip("nHWC", given.shape, strict=True))
    for name in (name for name in outputs if name in _SHAPES):
        array, dimensions = outputs[name], _SHAPES[name].split()
        dtype = np.int64 if name == "label" else np.float32
        fits = array.dtype == dtype and array.ndim == len(dimensions) and 0 not in array.shape
        if not fits or any(
            sizes.setdefault(dimension, size) != size for dimension, size in zip(dimensions, array.shape, strict=True)
        ):
            raise errors.UnexpectedAnswer(
                f"The answer's {name} is {array.dtype} of the shape {list(array.shape)}; "
                f"expected {np.dtype(dtype)} [{', '.join(str(sizes.get(size, size)) for size in dimensions)}]."
            )
    return outputs


def _given_seeds(n: int | None, seed: int, seeds: np.ndarray | None) -> np.ndarray:
    if (n is None) == (seeds is None):
        raise errors.BadInput("Give either n, the number of images, or the seeds themselves.")
    return seed_rows(seed, n) if seeds is None else as_array(seeds, "seeds")  # type: ignore[arg-type]


def _image_and_seeds(image: np.ndarray, seed: int, seeds: np.ndarray | None) -> dict[str, np.ndarray]:
    pixels = _pixels(image)
    return {"image": pixels, "seed": seed_rows(seed, len(pixels)) if seeds is None else as_array(seeds, "seeds")}


def _latents(value: np.ndarray, name: str) -> np.ndarray:
    """Converts floats to float32."""
    array = as_array(value, name)
    if array.ndim != 3 or len(array) == 0 or not np.issubdtype(array.dtype, np.floating):
        raise errors.BadInput(
            f"{name} is {array.dtype} of the shape {list(array.shape)}; expected floats [n, T, Z], n at least 1."
        )
    return array.astype(np.float32)


def _pixels(image: np.ndarray) -> np.ndarray:
    """Converts floats and booleans to float32."""
    image = as_array(image, "image")
    if image.ndim != 4 or len(image) == 0:
        raise errors.BadInput(f"The images have the shape {list(image.shape)}; expected [n, H, W, C], n at least 1.")
    if image.dtype != bool and not np.issubdtype(image.dtype, np.floating):
        raise errors.BadInput(
            f"The images are {image.dtype}; expected floats from 0 to 1. Divide by 255 what reaches from 0 to 255."
        )
    return image.astype(np.float32)
