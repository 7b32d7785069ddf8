"""Writes the signatures of a SavedModel as ONNX files, each held against the SavedModel first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import onnxruntime

from pipeline.portable import onnx_graph, triton_config
from pipeline.portable.verification import Exported, Source, write
from trainer.task import Task
from trainer.training import initial_weights

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


def export(directory: str, folder: Path, *, triton: bool = False) -> Iterator[Exported]:
    """Writes a file for each signature, and yields it: SIGNATURE.onnx, or as a model of Triton's repository.

    Args:
      directory: a SavedModel with its task.
      folder: made where it is missing.
      triton: whether the files become TASK_SIGNATURE/1/model.onnx, with a config.pbtxt each.

    Raises:
      NotEqual: if ONNX Runtime answers otherwise than the SavedModel; that file is not written.
      ValueError: as `Source`.
    """
    source = Source(directory)
    task = source.task
    weights = initial_weights.read_weights(source.directory)
    if not triton:
        source.write_facts(folder)
    for name in source.signatures:
        model = onnx_graph.build(task, weights, name, descriptions=_DESCRIPTIONS, properties=_properties(task, name))
        content = model.SerializeToString()
        difference = verify(content, source, name)
        path = folder / f"{name}.onnx"
        if triton:
            entry = folder / f"{task.name}_{name}"
            path = entry / "1" / "model.onnx"
            write(entry / "config.pbtxt", triton_config.text(model, entry.name).encode())
        write(path, content)
        yield Exported(path, difference)


def verify(content: bytes, source: Source, name: str) -> float:
    """Returns the greatest difference from the SavedModel's signature. Raises NotEqual for one that is too great."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, source.inputs(name)), strict=True))
    return source.difference(name, answers, f"ONNX Runtime {onnxruntime.__version__}")


def _properties(task: Task, signature: str) -> dict[str, str]:
    return {
        "title": f"DRAW, {task.title}: {signature}",
        "signature": signature,
        "task": task.to_json(),
        "units": json.dumps(_UNITS),
        "pixels": "0 or 1" if task.binary else "from 0 to 1",
        "opset": str(onnx_graph.OPSET),
    }
