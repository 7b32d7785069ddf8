"""Whether an exported file answers as the SavedModel does, and what is exported at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from serving.client import seed_rows
from serving.noise import seed_noise
from serving.pictures.png import save_whole
from serving.reference.model_reference import REFERENCE_FILE
from serving.saved_model import TASK_FILE, Arrays, Signature, load
from trainer.export import exporter
from trainer.task import ClassifyingTask, GenerativeTask, Task

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
_NATS = ("kl_per_step", "nll_bound")
"""Of these it is a share of one nat a number at least: a tiny KL is what rounding leaves of larger terms."""


class Exported(NamedTuple):
    """A file that was written."""

    path: Path
    difference: float
    """The greatest from the SavedModel, see `TOLERANCE`."""


class NotEqual(ValueError):
    """The file does not answer as the SavedModel does."""


class Source:
    """A SavedModel to export, with what its files are asked and should answer."""

    def __init__(self, directory: str) -> None:
        """Loads it. Raises ValueError if it has no task, or lacks a signature, as one of an earlier version does."""
        self.task = exporter.read_task(directory)
        saved_model = load(directory)
        self.directory = saved_model.directory
        self.signatures: Mapping[str, Signature] = {
            name: saved_model.signature(name) for name in SIGNATURES[type(self.task)]
        }
        self._inputs = _inputs(self.task, self.signatures)

    def inputs(self, name: str) -> Arrays:
        """Returns the inputs that a signature is asked with."""
        return {alias: self._inputs[alias] for alias in self.signatures[name].inputs}

    def difference(self, name: str, answers: Mapping[str, np.ndarray], runtime: str) -> float:
        """Returns the greatest difference from the SavedModel. Raises NotEqual for one that is too great.

        Args:
          name: the signature.
          answers: what `inputs` gave.
          runtime: what answered, for the message.
        """
        expected = self.signatures[name].call(self.inputs(name), batch_rows=ROWS)
        if answers.keys() != expected.keys():
            raise NotEqual(f"{name}: {runtime} gives {sorted(answers)}; expected {sorted(expected)}.")
        greatest = 0.0
        for key, wanted in expected.items():
            given = answers[key]
            if given.shape != wanted.shape or given.dtype != wanted.dtype:
                kinds = f"{given.dtype} {given.shape}; expected {wanted.dtype} {wanted.shape}"
                raise NotEqual(f"{name}: {runtime} gives {key} as {kinds}.")
            least = 1.0 if key in _NATS else 0.0
            difference = _relative(given, wanted, least)
            of_a_row = max(_relative(*row, least) for row in zip(given, wanted, strict=True))
            if not (difference <= TOLERANCE and of_a_row <= ROW_TOLERANCE):
                raise NotEqual(
                    f"{name}: {runtime} gives another {key} than the SavedModel: they differ by {difference:.2g} of "
                    f"its norm, in one row by {of_a_row:.2g}, and {TOLERANCE:g} and {ROW_TOLERANCE:g} are allowed. "
                    "The file was not written."
                )
            greatest = max(greatest, difference)
        return greatest

    def write_facts(self, folder: Path) -> None:
        """Writes what lies beside the model: its task, and the reference of its scores where it has one."""
        for name in (TASK_FILE, REFERENCE_FILE):
            path = Path(self.directory, name)
            if path.exists():
                write(folder / path.name, path.read_bytes())


def write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    save_whole(path, lambda file: file.write(content))


def _relative(given: np.ndarray, wanted: np.ndarray, least: float) -> float:
    """The Euclidean norm of the difference, as a share of that of what was expected, or of `least` in each number."""
    difference = np.linalg.norm(np.subtract(given, wanted, dtype=np.float64))
    norm = np.linalg.norm(wanted.astype(np.float64))
    return float(difference / max(norm, least * np.sqrt(wanted.size), 1e-30))


def _inputs(task: Task, signatures: Mapping[str, Signature]) -> Arrays:
    """Makes the inputs of all signatures: images that the model itself has drawn, or noise for a classifier."""
    if isinstance(task, ClassifyingTask):
        image = np.random.default_rng(1502).uniform(size=(ROWS, *task.image_shape))
        return {"image": image.astype(np.float32)}
    assert isinstance(task, GenerativeTask)
    z, eps = (seed_noise(seed_rows(seed, ROWS), task.glimpses, task.latent_size) for seed in (0, 1))
    image = signatures["decode"].call({"z": z})["image"]
    return {"z": z, "eps": eps, "image": np.rint(image) if task.binary else image}
