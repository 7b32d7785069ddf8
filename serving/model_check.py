"""Loads a SavedModel in a process of its own and asks it real requests: `python -m serving.model_check MODEL EXAMPLES`.

MODEL is the folder of a SavedModel, EXAMPLES an uncompressed TFRecord file of some tf.Examples. The last line on
standard output is the result, and the exit status is 0 only where the model may be served; then `--warmup FILE` holds
requests that it answered. TensorFlow alone is needed, as in a server: what an export needs beyond it shows here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from serving.warmup_file import Request, write_warmup

Outputs = dict[str, np.ndarray]
Signatures = Mapping[str, tf.types.experimental.ConcreteFunction]

SCORES = ("nll_bound", "reconstruction", "kl", "log_weight")
"""Outputs of `score` and `score_examples` with one number an example, beside `kl_per_step` with one a step."""

_RELATIVE_TOLERANCE = 1e-4
"""Of an output's greatest size: rows of different batches may differ by the rounding of float32, and no more."""


class CheckFailed(Exception):
    """The model loads, but does not answer as the contract says; the message names signature and reason."""


def main() -> int:
    """Checks the model that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.model_check", description="Asks a SavedModel real requests."
    )
    parser.add_argument("model", help="folder of the SavedModel")
    parser.add_argument("examples", help="TFRecord file of serialized tf.Examples, at least two")
    parser.add_argument("--warmup", metavar="FILE", help="is written where the model passes: requests to warm it up")
    arguments = parser.parse_args()
    try:
        examples = [record.numpy() for record in tf.data.TFRecordDataset(arguments.examples)]
        requests = check(arguments.model, examples)
        if arguments.warmup:
            write_warmup(arguments.warmup, requests)
    # Whatever the model raises while it is loaded or asked is the answer, not an accident of this program.
    except Exception as error:
        name = "" if isinstance(error, CheckFailed) else f"{type(error).__name__}: "
        print(" ".join(f"{name}{error}".split()))
        return 1
    asked = ", ".join(dict.fromkeys(name for name, _ in requests))
    print(f"The model answers {asked} as it should; asked with {len(examples)} examples.")
    return 0


def check(model_dir: str, examples: list[bytes]) -> list[Request]:
    """Asks the signatures that every model of its kind has, and of the others of our contract those that are there.

    A classifier has `classify` and `classify_examples`, another model `sample`, `score_examples` and `score`.

    Args:
      model_dir: of the SavedModel.
      examples: serialised tf.Examples of the task, at least two.

    Returns:
      For each signature the request of all rows and that of one, as they were asked.

    Raises:
      CheckFailed: where an answer is not what the contract of the signatures says.
      Exception: whatever TensorFlow raises where the model cannot be loaded, or refuses a valid request.
    """
    if len(examples) < 2:
        raise CheckFailed(
            f"Got {len(examples)} examples; at least 2 are needed to see whether rows depend on each other."
        )
    # Kept while the signatures are in use, because it owns their variables.
    model = tf.saved_model.load(model_dir)
    asked: dict[str, Mapping[str, np.ndarray]] = {}

    def ask(name: str, **inputs: np.ndarray) -> Outputs:
        asked[name] = inputs
        return _consistent(name, _asker(model.signatures, name), inputs)

    if "classify" in model.signatures:
        _check_classifier(model.signatures, ask, examples)
    else:
        _check_generative(model.signatures, ask, examples)
    return [
        (name, {key: value[:rows] for key, value in inputs.items()})
        for name, inputs in asked.items()
        for rows in (1, len(examples))
    ]


def _check_generative(signatures: Signatures, ask: Callable[..., Outputs], examples: list[bytes]) -> None:
    seeds = np.stack([np.arange(len(examples)), np.full(len(examples), 7)], axis=1).astype(np.int64)
    for name in ("sample", "score", "score_examples"):
        _asker(signatures, name)
    image_shape = _image_shape(signatures["score"])

    images = ask("sample", seed=seeds)
    _expect_images("sample", images, len(seeds), image_shape)
    if np.array_equal(images["image"][0], images["image"][1]):
        raise CheckFailed("sample: two seeds gave the same image, so the seed has no effect.")

    _expect_scores("score_examples", ask("score_examples", examples=np.array(examples, object)))
    scaled = _images(examples, image_shape)
    _expect_scores("score", ask("score", image=scaled, seed=seeds))

    if "serving_default" in signatures:
        _expect_images("serving_default", ask("serving_default", seed=seeds), len(seeds), image_shape)
    if "reconstruct" in signatures:
        _expect_images("reconstruct", ask("reconstruct", image=scaled, seed=seeds), len(seeds), image_shape)
    if "sample_sequence" in signatures:
        canvas = ask("sample_sequence", seed=seeds).get("canvas", np.empty(0))
        _expect_images(
            "sample_sequence", {"image": canvas[:, -1] if canvas.ndim == 5 else canvas}, len(seeds), image_shape
        )


def _check_classifier(signatures: Signatures, ask: Callable[..., Outputs], examples: list[bytes]) -> None:
    for name in ("classify", "classify_examples"):
        _asker(signatures, name)
    images = _images(examples, _image_shape(signatures["classify"]))
    names = ("classify", *(name for name in ("serving_default",) if name in signatures))
    for name in names:
        found = ask(name, image=images)
        _expect_probabilities(name, found, "probabilities")
        if not np.array_equal(found.get("label", np.empty(0)), found["probabilities"].argmax(axis=1)):
            raise CheckFailed(f"{name}: label is not the most probable class.")
    answer = ask("classify_examples", inputs=np.array(examples, object))
    _expect_probabilities("classify_examples", answer, "scores")
    if answer.get("classes", np.empty(0)).shape != answer["scores"].shape:
        raise CheckFailed("classify_examples: classes must be of the shape of scores, a class for each.")


def _expect_probabilities(name: str, outputs: Outputs, key: str) -> None:
    if key not in outputs:
        raise CheckFailed(f"{name}: there is no output {key}, only {sorted(outputs)}.")
    values = outputs[key]
    if values.ndim != 2 or values.dtype != np.float32:
        raise CheckFailed(f"{name}: {key} is {values.dtype} {values.shape}; expected float32 [n, classes].")
    if values.min() < 0 or not np.abs(values.sum(axis=1) - 1).max() <= _RELATIVE_TOLERANCE:
        raise CheckFailed(f"{name}: {key} must be probabilities, of which each row sums to 1.")


def _asker(signatures: Mapping[str, Callable[..., Mapping[str, tf.Tensor]]], name: str) -> Callable[..., Outputs]:
    if name not in signatures:
        raise CheckFailed(f"{name}: there is no such signature, only {sorted(signatures)}.")

    def ask(**inputs: np.ndarray) -> Outputs:
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        return {key: value.numpy() for key, value in signatures[name](**tensors).items()}

    return ask


def _consistent(name: str, ask: Callable[..., Outputs], inputs: Mapping[str, np.ndarray]) -> Outputs:
    """The answer, where it is finite, the same when asked again, and each row the same in a request of its own."""
    (rows,) = {len(value) for value in inputs.values()}
    outputs = _finite_rows(name, ask(**inputs), rows)
    again = _finite_rows(name, ask(**inputs), rows)
    alone = [
        _finite_rows(name, ask(**{key: value[i : i + 1] for key, value in inputs.items()}), 1) for i in range(rows)
    ]
    for key, values in outputs.items():
        if values.dtype == object:
            if not np.array_equal(np.concatenate([other[key] for other in alone]), values):
                raise CheckFailed(f"{name}: rows of {key} depend on the batch that they travel in.")
            continue
        allowed = _RELATIVE_TOLERANCE * np.abs(values).max()
        if not np.abs(again[key] - values).max() <= allowed:
            raise CheckFailed(f"{name}: {key} differs when the same is asked again, so its noise is not the caller's.")
        difference = np.abs(np.concatenate([outputs[key] for outputs in alone]) - values).max()
        if not difference <= allowed:
            raise CheckFailed(
                f"{name}: rows of {key} depend on the batch that they travel in: asked one by one they differ by up to "
                f"{difference:.3g}; allowed is {allowed:.3g}."
            )
    return outputs


def _finite_rows(name: str, outputs: Outputs, rows: int) -> Outputs:
    for key, values in outputs.items():
        if values.shape[:1] != (rows,):
            raise CheckFailed(
                f"{name}: {key} has shape {values.shape} for {rows} rows of input; expected one row each."
            )
        if values.dtype != object and not np.isfinite(values).all():
            raise CheckFailed(f"{name}: {key} is not finite.")
    return outputs


def _expect_images(name: str, outputs: Outputs, rows: int, image_shape: tuple[int, ...]) -> None:
    if "image" not in outputs:
        raise CheckFailed(f"{name}: there is no output image, only {sorted(outputs)}.")
    image = outputs["image"]
    if image.shape != (rows, *image_shape) or image.dtype != np.float32:
        raise CheckFailed(f"{name}: image is {image.dtype} {image.shape}; expected float32 {(rows, *image_shape)}.")
    if image.min() < 0 or image.max() > 1:
        raise CheckFailed(f"{name}: image reaches from {image.min():g} to {image.max():g}; expected 0 to 1.")


def _expect_scores(name: str, outputs: Outputs) -> None:
    for key, rank in {**dict.fromkeys(SCORES, 1), "kl_per_step": 2}.items():
        if key not in outputs:
            raise CheckFailed(f"{name}: there is no output {key}, only {sorted(outputs)}.")
        if outputs[key].ndim != rank:
            raise CheckFailed(
                f"{name}: {key} has shape {outputs[key].shape}; expected {'[n]' if rank == 1 else '[n, T]'}."
            )


def _image_shape(score: tf.types.experimental.ConcreteFunction) -> tuple[int, ...]:
    """[H, W, C] of the images that the model scores."""
    return tuple(score.structured_input_signature[1]["image"].shape[1:])


def _images(examples: list[bytes], image_shape: tuple[int, ...]) -> np.ndarray:
    """The examples' images, in [0, 1]: the contract's pixels are 0 or 1 where they are binarised, and else 0 to 255."""
    pixels = np.stack([_image(example, image_shape) for example in examples])
    return pixels if pixels.max() <= 1 else pixels / np.float32(255)


def _image(example: bytes, image_shape: tuple[int, ...]) -> np.ndarray:
    """An image of the size that the model takes, of a serialised tf.Example's pixels: float32 [H, W, C], unscaled.

    The stored image may be larger: how the model crops it is for `score_examples` to know, and here any pixels do.
    """
    (raw,) = tf.train.Example.FromString(example).features.feature["image"].bytes_list.value
    size = int(np.prod(image_shape))
    if len(raw) < size:
        raise CheckFailed(f"score: an example's image has {len(raw)} bytes, but the model takes {image_shape}.")
    return np.frombuffer(raw, np.uint8, count=size).reshape(image_shape).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
