"""Writes the signatures of a SavedModel as ONNX files, each held against the SavedModel first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from pipeline.portable import onnx_graph, triton_config
from serving.client import seed_rows
from serving.noise import seed_noise
from serving.pictures.png import save_whole
from serving.saved_model import Arrays, SavedModel, Signature
from trainer.export import exporter
from trainer.task import ClassifyingTask, GenerativeTask, Task
from trainer.training import initial_weights

SIGNATURES: Mapping[type[Task], tuple[str, ...]] = {
    GenerativeTask: ("decode", "decode_sequence", "encode"),
    ClassifyingTask: ("classify",),
}
"""What is exported of each kind of task: what takes numbers, with all noise outside."""

ROWS = 32
"""With so many rows a file is held against the SavedModel."""
TOLERANCE = 1e-5
"""The greatest difference from the SavedModel in all rows of an output, as a share of its Euclidean norm.

Not of its single numbers: 64 steps make more of the rounding of some. Of `mnist`, float32 in TensorFlow and in ONNX
Runtime are as far from float64 as from each other: 2e-6 by this norm, and 3e-5 of the greatest value in one pixel.
"""
ROW_TOLERANCE = 1e-4
"""The same for each row, so that no single image hides among the others."""

_WINDOW = "centre x, centre y, stride, variance and intensity at each step [n, T, 5], in pixels"
_DESCRIPTIONS = {
    "z": "latent variables [n, T, Z], standard normal where the model is to draw",
    "eps": "noise of the latent variables [n, T, Z], standard normal; with zeros z is the mean",
    "image": "pixels [n, H, W, C] from 0 to 1",
    "canvas": "the drawing after each step [n, T, H, W, C], from 0 to 1",
    "write_window": f"where the model writes: {_WINDOW}",
    "glimpse_window": f"where the model looks: {_WINDOW}",
    "mu": "means of the latent variables [n, T, Z]",
    "log_sigma": "logarithms of their standard deviations [n, T, Z]",
    "kl_per_step": "KL divergence of each step [n, T], in nats",
    "nll_bound": "bound of the negative log-likelihood [n], in nats",
    "probabilities": "probability of each class [n, classes]",
    "label": "the most probable class [n]",
}
_UNITS = {
    "kl_per_step": "nats",
    "nll_bound": "nats",
    "write_window": "pixels",
    "glimpse_window": "pixels",
}


class Exported(NamedTuple):
    """A file that was written."""

    path: Path
    difference: float
    """The greatest from the SavedModel, see `TOLERANCE`."""


class NotEqual(ValueError):
    """The ONNX file does not answer as the SavedModel does."""


def export(directory: str, folder: Path, *, triton: bool = False) -> Iterator[Exported]:
    """Writes a file for each signature, and yields it: SIGNATURE.onnx, or as a model of Triton's repository.

    Args:
      directory: a SavedModel with its task.
      folder: made where it is missing.
      triton: whether the files become TASK_SIGNATURE/1/model.onnx, with a config.pbtxt each.

    Raises:
      NotEqual: if ONNX Runtime answers otherwise than the SavedModel; that file is not written.
      ValueError: if the SavedModel has no task, or lacks a signature, as those that were exported before it do.
    """
    task = exporter.read_task(directory)
    saved_model = SavedModel(directory)
    signatures = {name: saved_model.signature(name) for name in SIGNATURES[type(task)]}
    weights = initial_weights.read_weights(saved_model.directory)
    if not triton:
        _write(folder / "task.json", task.to_json().encode())
    inputs = _inputs(task, signatures)
    for name, signature in signatures.items():
        model = onnx_graph.build(task, weights, name, descriptions=_DESCRIPTIONS, properties=_properties(task, name))
        content = model.SerializeToString()
        given = {alias: inputs[alias] for alias in signature.inputs}
        difference = verify(content, signature, given)
        path = folder / f"{name}.onnx"
        if triton:
            entry = folder / f"{task.name}_{name}"
            path = entry / "1" / "model.onnx"
            _write(entry / "config.pbtxt", triton_config.text(model, entry.name).encode())
        _write(path, content)
        yield Exported(path, difference)


def verify(content: bytes, signature: Signature, inputs: Arrays) -> float:
    """Returns the greatest difference from the SavedModel's signature. Raises NotEqual for one that is too great."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, inputs), strict=True))
    expected = signature.call(inputs, batch_rows=ROWS)
    if answers.keys() != expected.keys():
        raise NotEqual(f"{signature.name}: ONNX Runtime gives {sorted(answers)}; expected {sorted(expected)}.")
    greatest = 0.0
    for name, wanted in expected.items():
        given = answers[name]
        if given.shape != wanted.shape or given.dtype != wanted.dtype:
            raise NotEqual(
                f"{signature.name}: ONNX Runtime gives {name} as {given.dtype} {given.shape}; expected {wanted.dtype} "
                f"{wanted.shape}."
            )
        difference, of_a_row = _relative(given, wanted), max(map(_relative, given, wanted))
        if not (difference <= TOLERANCE and of_a_row <= ROW_TOLERANCE):
            raise NotEqual(
                f"{signature.name}: ONNX Runtime {onnxruntime.__version__} gives another {name} than the SavedModel: "
                f"they differ by {difference:.2g} of its norm, in one row by {of_a_row:.2g}, and {TOLERANCE:g} and "
                f"{ROW_TOLERANCE:g} are allowed. The file was not written."
            )
        greatest = max(greatest, difference)
    return greatest


def _relative(given: np.ndarray, wanted: np.ndarray) -> float:
    """The Euclidean norm of the difference, as a share of that of what was expected."""
    difference = np.linalg.norm(np.subtract(given, wanted, dtype=np.float64))
    return float(difference / max(np.linalg.norm(wanted.astype(np.float64)), 1e-30))


def _inputs(task: Task, signatures: Mapping[str, Signature]) -> Arrays:
    """Makes the inputs of all signatures: images that the model itself has drawn, or noise for a classifier."""
    if isinstance(task, ClassifyingTask):
        image = np.random.default_rng(1502).uniform(size=(ROWS, *task.image_shape))
        return {"image": image.astype(np.float32)}
    assert isinstance(task, GenerativeTask)
    z, eps = (seed_noise(seed_rows(seed, ROWS), task.glimpses, task.latent_size) for seed in (0, 1))
    image = signatures["decode"].call({"z": z})["image"]
    return {"z": z, "eps": eps, "image": np.rint(image) if task.binary else image}


def _properties(task: Task, signature: str) -> dict[str, str]:
    return {
        "title": f"DRAW, {task.title}: {signature}",
        "signature": signature,
        "task": task.to_json(),
        "units": json.dumps(_UNITS),
        "pixels": "0 or 1" if task.binary else "from 0 to 1",
        "opset": str(onnx_graph.OPSET),
    }


def _write(path: Path, content: bytes) -> None:
    save_whole(path, lambda file: file.write(content))
