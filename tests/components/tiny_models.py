"""SavedModels with the signatures of our contract whose answers a test can work out by hand."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tfx.types import standard_artifacts

from tests.components.ingestion import DIGITS
from trainer.task import Task
from trainer.tasks import CLUTTERED_MNIST_SMALL

IMAGE_SHAPE = (28, 28, 1)
KL_PER_STEP = (1.5, 0.25, 4.0)

Outputs = dict[str, tf.Tensor]


class KnownBound(tf.Module):
    """Its reconstruction is `offset` plus a hundredth of an image's ink; its KL is KL_PER_STEP, once more for each `7`.

    Overridden in parts by the models of the tests that misbehave in one respect.
    """

    def __init__(self, offset: float = 0.0, task_json: pathlib.Path | None = None) -> None:
        super().__init__()
        self.offset = tf.Variable(offset, trainable=False)
        if task_json is not None:
            self.task_json = tf.saved_model.Asset(str(task_json))

    def sample(self, seed: tf.Tensor) -> Outputs:
        def draw(row: tf.Tensor) -> tf.Tensor:
            return tf.random.stateless_uniform(IMAGE_SHAPE, row)

        return {"image": tf.map_fn(draw, seed, fn_output_signature=tf.float32)}

    def score(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        del seed
        return self.scores(image, tf.zeros(tf.shape(image)[0]))

    def score_examples(self, examples: tf.Tensor) -> Outputs:
        features = {
            "image": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([], tf.int64, default_value=0),
        }
        parsed = tf.io.parse_example(examples, features)
        image = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), [-1, *IMAGE_SHAPE])
        return self.scores(tf.cast(image, tf.float32), tf.cast(parsed["label"] == 7, tf.float32))

    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        """Of images [n, H, W, C] and whether each shows a 7, [n]."""
        kl_per_step = (1 + sevens[:, None]) * tf.constant([KL_PER_STEP])
        reconstruction = self.offset + tf.reduce_sum(image, axis=[1, 2, 3]) / 100
        kl = tf.reduce_sum(kl_per_step, axis=1)
        return {
            "nll_bound": reconstruction + kl,
            "reconstruction": reconstruction,
            "kl": kl,
            "kl_per_step": kl_per_step,
            "log_weight": -reconstruction - kl,
        }

    def save(
        self,
        directory: pathlib.Path,
        names: Sequence[str] = ("sample", "score", "score_examples"),
        more: Mapping[str, Callable[..., Outputs]] | None = None,
    ) -> None:
        """Writes the SavedModel with the signatures `names`, and those in `more`."""
        seed = tf.TensorSpec([None, 2], tf.int64, name="seed")
        image = tf.TensorSpec([None, *IMAGE_SHAPE], tf.float32, name="image")
        specs = {
            "sample": [seed],
            "score": [image, seed],
            "score_examples": [tf.TensorSpec([None], tf.string, name="examples")],
        }
        for name in names:
            setattr(self, f"serve_{name}", tf.function(getattr(self, name), input_signature=specs[name]))
        signatures = {name: getattr(self, f"serve_{name}") for name in names} | dict(more or {})
        tf.saved_model.save(self, str(directory), signatures=signatures)


class Drawing(KnownBound):
    """The signatures beyond those that every generative model needs."""

    SHIFT = 0.0
    """By which the last canvas and the reconstruction are too bright."""

    def sample_sequence(self, seed: tf.Tensor) -> Outputs:
        image = self.sample(seed)["image"]
        return {"canvas": tf.stack([image / 2, image + self.SHIFT], axis=1)}

    def reconstruct(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        return {"image": image / 2 + self.sample(seed)["image"] / 2 + self.SHIFT}

    def save(self, directory: pathlib.Path, names: Sequence[str] = ("sample", "score", "score_examples")) -> None:
        seed = tf.TensorSpec([None, 2], tf.int64, name="seed")
        image = tf.TensorSpec([None, *IMAGE_SHAPE], tf.float32, name="image")
        self.more = {
            "serving_default": tf.function(self.sample, input_signature=[seed]),
            "sample_sequence": tf.function(self.sample_sequence, input_signature=[seed]),
            "reconstruct": tf.function(self.reconstruct, input_signature=[image, seed]),
        }
        super().save(directory, names, self.more)


def bound_model(
    uri: pathlib.Path,
    kind: type[KnownBound] = KnownBound,
    *,
    offset: float = 0.0,
    task: Task | None = DIGITS,
    model_id: int = 1,
) -> standard_artifacts.Model:
    """Saves a generative model as a Trainer would; None for one that does not say what its task is."""
    kind(offset, _write_task(task, uri)).save(uri / "Format-Serving")
    return _artifact(uri, model_id)


class KnownAnswers(tf.Module):
    """Reads the label from the example, and gives the next class if the image's ink is a multiple of `modulus`."""

    def __init__(self, modulus: int, task_json: pathlib.Path, *, classes: int = 10) -> None:
        super().__init__()
        self._modulus, self._classes = modulus, classes
        self.task_json = tf.saved_model.Asset(str(task_json))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify_examples(self, inputs: tf.Tensor) -> Outputs:
        features = {name: tf.io.FixedLenFeature([], kind) for name, kind in (("image", tf.string), ("label", tf.int64))}
        parsed = tf.io.parse_example(inputs, features)
        ink = tf.reduce_sum(tf.cast(tf.io.decode_raw(parsed["image"], tf.uint8), tf.int64), axis=1)
        label = parsed["label"]
        answer = tf.where(ink % self._modulus == 0, (label + 1) % 10, label)
        classes = tf.tile([[str(k) for k in range(self._classes)]], [tf.size(inputs), 1])
        return {"classes": classes, "scores": self.scores(answer)}

    def scores(self, answer: tf.Tensor) -> tf.Tensor:
        """0.6 for the answer, the rest for the other classes."""
        return tf.one_hot(answer, self._classes, 0.6, 0.4 / (self._classes - 1))


def error_model(
    uri: pathlib.Path,
    modulus: int,
    kind: type[KnownAnswers] = KnownAnswers,
    *,
    task: Task = CLUTTERED_MNIST_SMALL,
    model_id: int = 1,
    **options: int,
) -> standard_artifacts.Model:
    """Saves a classifier as a Trainer would."""
    task_json = _write_task(task, uri)
    assert task_json is not None
    module = kind(modulus, task_json, **options)
    tf.saved_model.save(module, str(uri / "Format-Serving"), signatures={"classify_examples": module.classify_examples})
    return _artifact(uri, model_id)


def expected_errors(images: np.ndarray, modulus: int) -> np.ndarray:
    """Whether KnownAnswers is wrong about each of the images [n, 784]."""
    return images.astype(np.int64).sum(axis=1) % modulus == 0


def expected_bounds(images: np.ndarray, labels: np.ndarray, offset: float = 0.0) -> np.ndarray:
    """KnownBound's bound of images [n, 784], 0 or 1, in float64."""
    return offset + images.astype(np.float64).sum(axis=1) / 100 + sum(KL_PER_STEP) * (1 + (labels == 7))


def _write_task(task: Task | None, uri: pathlib.Path) -> pathlib.Path | None:
    uri.mkdir(exist_ok=True)
    if task is None:
        return None
    (uri / "task.json").write_text(task.to_json())
    return uri / "task.json"


def _artifact(uri: pathlib.Path, model_id: int) -> standard_artifacts.Model:
    artifact = standard_artifacts.Model()
    artifact.uri, artifact.id = str(uri), model_id
    return artifact
