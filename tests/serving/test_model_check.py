"""The requests that `serving.model_check` makes, and what it says of a model that answers them wrongly."""

from __future__ import annotations

import math
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf

from serving.model_check import CheckFailed, check, main
from tests.components.tiny_models import IMAGE_SHAPE, Drawing, KnownBound, Outputs


class WeightOfTheBatch(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        return {**outputs, "log_weight": outputs["log_weight"] + 0.1 * tf.reduce_mean(outputs["log_weight"])}


class ImageOfThePlace(KnownBound):
    """A row's noise depends on its place in the batch: the mistake that one constant seed makes."""

    def sample(self, seed: tf.Tensor) -> Outputs:
        image = tf.random.stateless_uniform([tf.shape(seed)[0], *IMAGE_SHAPE], [1, 2])
        return {"image": image * tf.cast(1 + seed[:, 0], tf.float32)[:, None, None, None] / 10}


class OwnNoise(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": tf.random.uniform([tf.shape(seed)[0], *IMAGE_SHAPE])}


class DeafToSeeds(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": tf.fill([tf.shape(seed)[0], *IMAGE_SHAPE], 0.5)}


class TooBright(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": super().sample(seed)["image"] * 1.5}


class Negative(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": super().sample(seed)["image"] - 0.5}


class UndefinedImage(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": super().sample(seed)["image"] * math.nan}


class Cropped(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": super().sample(seed)["image"][:, 1:]}


class DoublePrecision(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"image": tf.cast(super().sample(seed)["image"], tf.float64)}


class Canvas(KnownBound):
    def sample(self, seed: tf.Tensor) -> Outputs:
        return {"canvas": super().sample(seed)["image"]}


class InfiniteBound(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        return {**super().scores(image, sevens), "nll_bound": tf.fill([tf.shape(image)[0]], math.inf)}


class MeanBound(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        return {**outputs, "nll_bound": tf.reduce_mean(outputs["nll_bound"])}


class NoSteps(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        return {**outputs, "kl_per_step": outputs["kl"]}


class NoWeight(KnownBound):
    def scores(self, image: tf.Tensor, sevens: tf.Tensor) -> Outputs:
        outputs = super().scores(image, sevens)
        del outputs["log_weight"]
        return outputs


class BinaryOnly(KnownBound):
    """Refuses grey pixels, and pixels beyond 1, as the models of a binarised task do."""

    def score(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        tf.debugging.Assert(tf.reduce_all((image == 0) | (image == 1)), ["0 or 1"])
        return super().score(image, seed)


class GreyOnly(KnownBound):
    """Refuses pixels beyond 1, and sees whether they came as 1/255 where they should be grey."""

    def score(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        tf.debugging.Assert((tf.reduce_max(image) <= 1) & (tf.reduce_max(image) > 0.5), ["grey"])
        return super().score(image, seed)


class NoiseInTheBound(KnownBound):
    def score(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        outputs = super().score(image, seed)
        return {**outputs, "kl": outputs["kl"] + tf.random.uniform([tf.shape(image)[0]])}


def _example(image: np.ndarray) -> bytes:
    example = tf.train.Example()
    example.features.feature["id"].bytes_list.value.append(b"digit-0")
    example.features.feature["image"].bytes_list.value.append(image.astype(np.uint8).tobytes())
    return example.SerializeToString()


@pytest.fixture(scope="module")
def requests() -> list[bytes]:
    """Examples of a binary task."""
    return [_example(image) for image in np.random.default_rng(0).integers(2, size=(3, *IMAGE_SHAPE))]


class TooBrightSequence(Drawing):
    SHIFT = 0.6

    def reconstruct(self, image: tf.Tensor, seed: tf.Tensor) -> Outputs:
        return {"image": image + 0 * self.sample(seed)["image"]}


class TooBrightReconstruction(Drawing):
    SHIFT = 0.6

    def sample_sequence(self, seed: tf.Tensor) -> Outputs:
        return {"canvas": tf.stack([self.sample(seed)["image"]] * 2, axis=1)}


class NoCanvas(Drawing):
    def sample_sequence(self, seed: tf.Tensor) -> Outputs:
        return {"canvas": self.sample(seed)["image"][:, :, :, 0]}


class Latent(KnownBound):
    """Has the signatures of latent variables: its image is their sum, and its bound the image's ink."""

    LATENTS = (3, 4)
    SHIFT = 0.0

    def sample(self, seed: tf.Tensor) -> Outputs:
        def noise(row: tf.Tensor) -> tf.Tensor:
            return tf.random.stateless_normal(self.LATENTS, row, alg="philox")

        return {"image": self.image(tf.map_fn(noise, seed, fn_output_signature=tf.float32))}

    def image(self, z: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(tf.reduce_sum(z, axis=[1, 2]))[:, None, None, None] * tf.ones(IMAGE_SHAPE)

    def decode(self, z: tf.Tensor) -> Outputs:
        return {"image": self.image(z) * (1 - self.SHIFT)}

    def decode_sequence(self, z: tf.Tensor) -> Outputs:
        return {"canvas": tf.stack([self.image(z) / 2, self.image(z)], axis=1)}

    def encode(self, image: tf.Tensor, eps: tf.Tensor) -> Outputs:
        del eps
        return {"nll_bound": self.score(image, tf.zeros([tf.shape(image)[0], 2], tf.int64))["nll_bound"]}

    def save(self, directory: pathlib.Path, names: Sequence[str] = ("sample", "score", "score_examples")) -> None:
        z, eps = (tf.TensorSpec([None, *self.LATENTS], tf.float32, name=name) for name in ("z", "eps"))
        image = tf.TensorSpec([None, *IMAGE_SHAPE], tf.float32, name="image")
        self.more = {
            "decode": tf.function(self.decode, input_signature=[z]),
            "decode_sequence": tf.function(self.decode_sequence, input_signature=[z]),
            "encode": tf.function(self.encode, input_signature=[image, eps]),
        }
        super().save(directory, names, self.more)


class OtherDecoder(Latent):
    SHIFT = 0.1


class UnfinishedSequence(Latent):
    def decode_sequence(self, z: tf.Tensor) -> Outputs:
        return {"canvas": tf.stack([self.image(z), self.image(z) / 2], axis=1)}


class NoSequence(Latent):
    def decode_sequence(self, z: tf.Tensor) -> Outputs:
        return {"image": self.image(z)}


class OtherBound(Latent):
    def encode(self, image: tf.Tensor, eps: tf.Tensor) -> Outputs:
        return {"nll_bound": super().encode(image, eps)["nll_bound"] + 1}


@pytest.mark.parametrize("kind", [KnownBound, BinaryOnly, Drawing, Latent])
def test_a_good_model_passes(kind: type[KnownBound], requests: list[bytes], tmp_path: pathlib.Path) -> None:
    kind().save(tmp_path)
    check(str(tmp_path), requests)


def test_a_model_with_a_reference_that_is_none_fails(requests: list[bytes], tmp_path: pathlib.Path) -> None:
    KnownBound().save(tmp_path)
    (tmp_path / "assets").mkdir(exist_ok=True)
    (tmp_path / "assets" / "reference.json").write_text('{"format": 99}')
    with pytest.raises(CheckFailed, match=r"reference\.json: The reference has the format 99"):
        check(str(tmp_path), requests)


def test_grey_images_are_scaled(tmp_path: pathlib.Path) -> None:
    GreyOnly().save(tmp_path)
    check(str(tmp_path), [_example(image) for image in np.random.default_rng(1).integers(256, size=(2, *IMAGE_SHAPE))])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (WeightOfTheBatch, "score_examples: rows of log_weight depend on the batch"),
        (ImageOfThePlace, "sample: rows of image depend on the batch"),
        (OwnNoise, "sample: image differs when the same is asked again"),
        (DeafToSeeds, "sample: two seeds gave the same image"),
        (TooBright, r"sample: image reaches from .* to 1\.\d+; expected 0 to 1"),
        (Negative, r"sample: image reaches from -0\.\d+ to .*; expected 0 to 1"),
        (UndefinedImage, "sample: image is not finite"),
        (Cropped, r"sample: image is float32 \(3, 27, 28, 1\); expected float32 \(3, 28, 28, 1\)"),
        (DoublePrecision, "sample: image is float64"),
        (Canvas, r"sample: there is no output image, only \['canvas'\]"),
        (InfiniteBound, "score_examples: nll_bound is not finite"),
        (MeanBound, r"score_examples: nll_bound has shape \(\) for 3 rows"),
        (NoSteps, r"score_examples: kl_per_step has shape \(3,\); expected \[n, T\]"),
        (NoWeight, "score_examples: there is no output log_weight"),
        (NoiseInTheBound, "score: kl differs when the same is asked again"),
        (TooBrightSequence, r"sample_sequence: image reaches from .* to 1\.\d+; expected 0 to 1"),
        (TooBrightReconstruction, r"reconstruct: image reaches from .* to 1\.\d+; expected 0 to 1"),
        (OtherDecoder, r"decode: image differs from that of sample with the same noise by up to 0\.\d+"),
        (UnfinishedSequence, "decode_sequence: canvas differs from that of sample"),
        (NoSequence, r"decode_sequence: it gives {'canvas': .*}; expected canvas \(3, 28, 28, 1\)"),
        (OtherBound, "encode: nll_bound differs from that of score with the same noise by up to 1; allowed is"),
        (NoCanvas, r"sample_sequence: image is float32 \(3, 28, 28\); expected float32 \(3, 28, 28, 1\)"),
    ],
)
def test_a_model_with_one_fault_is_told_it(
    kind: type[KnownBound], reason: str, requests: list[bytes], tmp_path: pathlib.Path
) -> None:
    kind().save(tmp_path)
    with pytest.raises(CheckFailed, match=f"^{reason}"):
        check(str(tmp_path), requests)


@pytest.mark.parametrize("missing", ["sample", "score", "score_examples"])
def test_each_signature_is_needed(missing: str, requests: list[bytes], tmp_path: pathlib.Path) -> None:
    names = [name for name in ("sample", "score", "score_examples") if name != missing]
    KnownBound().save(tmp_path, names)
    with pytest.raises(CheckFailed, match=f"^{missing}: there is no such signature, only "):
        check(str(tmp_path), requests)


def test_one_example_shows_nothing_about_rows(requests: list[bytes], tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckFailed, match="Got 1 examples; at least 2"):
        check(str(tmp_path), requests[:1])


def test_examples_of_another_task_are_told(tmp_path: pathlib.Path, requests: list[bytes]) -> None:
    class AnySize(KnownBound):
        def score_examples(self, examples: tf.Tensor) -> Outputs:
            return self.scores(tf.zeros([tf.shape(examples)[0], 1, 1, 1]), tf.zeros(tf.shape(examples)[0]))

    AnySize().save(tmp_path)
    with pytest.raises(CheckFailed, match=r"score: an example's image has 15 bytes, but the model takes \(28, 28, 1\)"):
        check(str(tmp_path), [requests[0], _example(np.zeros(15))])


@pytest.mark.parametrize(
    ("kind", "line"),
    [(None, "NotASavedModel: There is no model in"), (InfiniteBound, "score_examples: nll_bound is not finite.")],
)
def test_the_reason_is_one_line(
    kind: type[KnownBound] | None,
    line: str,
    requests: list[bytes],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if kind is not None:
        kind().save(tmp_path / "model")
    with tf.io.TFRecordWriter(str(tmp_path / "examples")) as writer:
        for request in requests:
            writer.write(request)
    monkeypatch.setattr(sys, "argv", ["check", str(tmp_path / "model"), str(tmp_path / "examples")])
    assert main() == 1
    (printed,) = capsys.readouterr().out.splitlines()
    assert printed.startswith(line)
