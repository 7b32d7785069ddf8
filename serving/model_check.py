"""Checks in a process of its own whether a SavedModel can be served: `python -m serving.model_check MODEL EXAMPLES`.

MODEL is the folder of a SavedModel, EXAMPLES an uncompressed TFRecord file of some tf.Examples. The last line on
standard output is the result, and the exit status is 0 only if the model may be served; then `--warmup FILE` holds
requests that it answered. Like a server it imports TensorFlow alone, so that an export that needs more fails here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

import numpy as np

from serving.examples import read_records
from serving.images.example_features import ExampleFeatures
from serving.noise import seed_noise
from serving.reference.model_reference import REFERENCE_FILE, BadReference
from serving.saved_model import Arrays, SavedModel, Signature, read_reference
from serving.warmup_file import Request, write_warmup

SCORES = ("nll_bound", "reconstruction", "kl", "log_weight")
"""Outputs of `score` and `score_examples` with one number an example; `kl_per_step` has one a step."""

_LATENTS = (("decode", "z"), ("decode_sequence", "z"), ("encode", "eps"))
"""Signatures that take latent variables or their noise, and by which name."""

_RELATIVE_TOLERANCE = 1e-4
"""A share of an output's greatest value: the rounding of float32 by which rows of different batches may differ."""


class CheckFailed(Exception):
    """The model does not answer as the contract says; the message names signature and reason."""


def main() -> int:
    """Checks the model that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.model_check", description="Asks a SavedModel real requests."
    )
    parser.add_argument("model", help="folder of the SavedModel")
    parser.add_argument("examples", help="TFRecord file of serialized tf.Examples, at least two")
    parser.add_argument("--warmup", metavar="FILE", help="written if the model passes: requests to warm it up")
    arguments = parser.parse_args()
    try:
        examples = list(read_records([arguments.examples]))
        requests = check(arguments.model, examples)
        if arguments.warmup:
            write_warmup(arguments.warmup, requests)
    # Whatever the model raises is the result of the check, not a fault of this program.
    except Exception as error:
        name = "" if isinstance(error, CheckFailed) else f"{type(error).__name__}: "
        print(" ".join(f"{name}{error}".split()))
        return 1
    asked = ", ".join(dict.fromkeys(name for name, _ in requests))
    print(f"The model answers {asked} as it should; asked with {len(examples)} examples.")
    return 0


def check(model_dir: str, examples: list[bytes]) -> list[Request]:
    """Calls the signatures that every model of its kind must have, and the others of our contract that it has.

    A classifier must have `classify` and `classify_examples`, another model `sample`, `score_examples` and `score`.

    Args:
      model_dir: the folder of the SavedModel.
      examples: serialised tf.Examples of the task, at least two.

    Returns:
      For each signature the request with all rows and that with one, as they were sent.

    Raises:
      CheckFailed: if an answer is not what the contract of the signatures says.
      Exception: whatever TensorFlow raises if the model cannot be loaded, or refuses a valid request.
    """
    if len(examples) < 2:
        raise CheckFailed(
            f"Got {len(examples)} examples; at least 2 are needed to see whether rows depend on each other."
        )
    signatures = SavedModel(model_dir).signatures
    try:
        read_reference(model_dir)
    except BadReference as error:
        raise CheckFailed(f"{REFERENCE_FILE}: {error}") from error
    sent: dict[str, Mapping[str, np.ndarray]] = {}

    def ask(name: str, **inputs: np.ndarray) -> Arrays:
        sent[name] = inputs
        return _consistent(signatures[name], inputs)

    (_check_classifier if "classify" in signatures else _check_generative)(signatures, ask, examples)
    return [
        (name, {key: value[:rows] for key, value in inputs.items()})
        for name, inputs in sent.items()
        for rows in (1, len(examples))
    ]


def _check_generative(signatures: Mapping[str, Signature], ask: Callable[..., Arrays], examples: list[bytes]) -> None:
    seeds = np.stack([np.arange(len(examples)), np.full(len(examples), 7)], axis=1).astype(np.int64)
    _require(signatures, "sample", "score", "score_examples")
    image_shape = signatures["score"].image_shape

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
    _check_latents(signatures, ask, seeds, images["image"], scaled)


def _check_latents(
    signatures: Mapping[str, Signature],
    ask: Callable[..., Arrays],
    seeds: np.ndarray,
    drawn: np.ndarray,
    image: np.ndarray,
) -> None:
    """Checks decode and encode where there are any: with the noise of the seeds they are sample and score."""
    shapes = [signatures[name].inputs[key].shape for name, key in _LATENTS if name in signatures]
    if not shapes:
        return
    if len(set(shapes)) > 1 or shapes[0] is None or len(shapes[0]) != 3 or None in shapes[0][1:]:
        raise CheckFailed(f"The latent variables have the shapes {shapes}; expected the same [n, T, Z] in all.")
    _, steps, latents = shapes[0]
    noise = seed_noise(seeds, int(steps or 0), int(latents or 0))
    if "decode" in signatures:
        _expect_same("decode", ask("decode", z=noise), "image", drawn, "sample")
    if "decode_sequence" in signatures:
        canvas = ask("decode_sequence", z=noise).get("canvas", np.empty(0))
        last = canvas[:, -1] if canvas.ndim == 5 else canvas
        _expect_same("decode_sequence", {"canvas": last}, "canvas", drawn, "sample")
    if "encode" in signatures:
        bound = signatures["score"].run({"image": image, "seed": seeds})["nll_bound"]
        _expect_same("encode", ask("encode", image=image, eps=noise), "nll_bound", bound, "score")


def _expect_same(name: str, outputs: Arrays, key: str, expected: np.ndarray, other: str) -> None:
    if key not in outputs or outputs[key].shape != expected.shape:
        shapes = {name: value.shape for name, value in outputs.items()}
        raise CheckFailed(f"{name}: it gives {shapes}; expected {key} {expected.shape}.")
    difference, allowed = np.abs(outputs[key] - expected).max(), _RELATIVE_TOLERANCE * np.abs(expected).max()
    if not difference <= allowed:
        raise CheckFailed(
            f"{name}: {key} differs from that of {other} with the same noise by up to {difference:.3g}; allowed is "
            f"{allowed:.3g}."
        )


def _check_classifier(signatures: Mapping[str, Signature], ask: Callable[..., Arrays], examples: list[bytes]) -> None:
    _require(signatures, "classify", "classify_examples")
    images = _images(examples, signatures["classify"].image_shape)
    names = ("classify", *(name for name in ("serving_default",) if name in signatures))
    for name in names:
        answer = ask(name, image=images)
        _expect_probabilities(name, answer, "probabilities")
        if not np.array_equal(answer.get("label", np.empty(0)), answer["probabilities"].argmax(axis=1)):
            raise CheckFailed(f"{name}: label is not the most probable class.")
    answer = ask("classify_examples", inputs=np.array(examples, object))
    _expect_probabilities("classify_examples", answer, "scores")
    if answer.get("classes", np.empty(0)).shape != answer["scores"].shape:
        raise CheckFailed("classify_examples: classes must be of the shape of scores, a class for each.")


def _expect_probabilities(name: str, outputs: Arrays, key: str) -> None:
    if key not in outputs:
        raise CheckFailed(f"{name}: there is no output {key}, only {sorted(outputs)}.")
    values = outputs[key]
    if values.ndim != 2 or values.dtype != np.float32:
        raise CheckFailed(f"{name}: {key} is {values.dtype} {values.shape}; expected float32 [n, classes].")
    if values.min() < 0 or not np.abs(values.sum(axis=1) - 1).max() <= _RELATIVE_TOLERANCE:
        raise CheckFailed(f"{name}: {key} must be probabilities, of which each row sums to 1.")


def _require(signatures: Mapping[str, Signature], *names: str) -> None:
    for name in names:
        if name not in signatures:
            raise CheckFailed(f"{name}: there is no such signature, only {sorted(signatures)}.")


def _consistent(signature: Signature, inputs: Mapping[str, np.ndarray]) -> Arrays:
    """Returns the answer if it is finite, the same when asked again, and each row the same in its own request."""
    name = signature.name
    for key, value in inputs.items():
        if key in signature.inputs and signature.inputs[key].dtype != value.dtype:
            raise CheckFailed(f"{name}: {key} is {signature.inputs[key].dtype}; expected {value.dtype}.")
    (rows,) = {len(value) for value in inputs.values()}
    outputs = _finite_rows(name, signature.run(inputs), rows)
    again = _finite_rows(name, signature.run(inputs), rows)
    alone = [
        _finite_rows(name, signature.run({key: value[i : i + 1] for key, value in inputs.items()}), 1)
        for i in range(rows)
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


def _finite_rows(name: str, outputs: Arrays, rows: int) -> Arrays:
    for key, values in outputs.items():
        if values.shape[:1] != (rows,):
            raise CheckFailed(
                f"{name}: {key} has shape {values.shape} for {rows} rows of input; expected one row each."
            )
        if values.dtype != object and not np.isfinite(values).all():
            raise CheckFailed(f"{name}: {key} is not finite.")
    return outputs


def _expect_images(name: str, outputs: Arrays, rows: int, image_shape: tuple[int, ...]) -> None:
    if "image" not in outputs:
        raise CheckFailed(f"{name}: there is no output image, only {sorted(outputs)}.")
    image = outputs["image"]
    if image.shape != (rows, *image_shape) or image.dtype != np.float32:
        raise CheckFailed(f"{name}: image is {image.dtype} {image.shape}; expected float32 {(rows, *image_shape)}.")
    if image.min() < 0 or image.max() > 1:
        raise CheckFailed(f"{name}: image reaches from {image.min():g} to {image.max():g}; expected 0 to 1.")


def _expect_scores(name: str, outputs: Arrays) -> None:
    for key, rank in {**dict.fromkeys(SCORES, 1), "kl_per_step": 2}.items():
        if key not in outputs:
            raise CheckFailed(f"{name}: there is no output {key}, only {sorted(outputs)}.")
        if outputs[key].ndim != rank:
            raise CheckFailed(
                f"{name}: {key} has shape {outputs[key].shape}; expected {'[n]' if rank == 1 else '[n, T]'}."
            )


def _images(examples: list[bytes], image_shape: tuple[int, ...]) -> np.ndarray:
    """Decodes the examples' images to [0, 1]: stored pixels are 0 or 1 if binarised, and else 0 to 255."""
    pixels = np.stack([_image(example, image_shape) for example in examples])
    return pixels if pixels.max() <= 1 else pixels / np.float32(255)


def _image(example: bytes, image_shape: tuple[int, ...]) -> np.ndarray:
    """Makes an image of the size that the model takes of an example's first pixels: float32 [H, W, C], unscaled.

    The stored image may be larger: how to crop it is for `score_examples` to know, and here any pixels do.
    """
    raw = ExampleFeatures(example).image
    size = int(np.prod(image_shape))
    if len(raw) < size:
        raise CheckFailed(f"score: an example's image has {len(raw)} bytes, but the model takes {image_shape}.")
    return np.frombuffer(raw, np.uint8, count=size).reshape(image_shape).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
