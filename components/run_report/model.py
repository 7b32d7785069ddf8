"""The model as its report asks it: by its signatures, in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_BATCH = 64
"""Rows of a request: a trace of so many images is a few hundred MiB at most."""


class Model:
    """A SavedModel in this process."""

    def __init__(self, directory: str) -> None:
        # The model owns the variables that a signature uses, so it has to live as long.
        self._model = tf.saved_model.load(directory)

    def ask(self, signature: str, keep: Sequence[str], **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs `keep` of a signature, those that it has, a row an input. uint8 images are divided by 255.

        Raises ValueError where an answer holds a number that is not finite.
        """
        called = self._model.signatures[signature]
        count = len(next(iter(inputs.values())))
        parts: dict[str, list[np.ndarray]] = {}
        for first in range(0, count, _BATCH):
            rows = slice(first, first + _BATCH)
            answer = called(**{name: _tensor(value[rows]) for name, value in inputs.items()})
            for name in keep:
                if name in answer:
                    parts.setdefault(name, []).append(answer[name].numpy())
        found = {name: np.concatenate(values) for name, values in parts.items()}
        for name, values in found.items():
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                raise ValueError(f"The model's answer {name} of {signature} is not finite.")
        return found


def seeds(count: int) -> np.ndarray:
    """[n, 2] int64: those of `draw sample --seed 0`, so that its images are those of the report."""
    return np.stack([np.zeros(count, np.int64), np.arange(count, dtype=np.int64)], axis=1)


def _tensor(values: np.ndarray) -> tf.Tensor:
    return tf.constant(values.astype(np.float32) / np.float32(255) if values.dtype == np.uint8 else values)
