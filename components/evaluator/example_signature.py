"""A signature of a SavedModel that takes serialised tf.Examples, checked when it is loaded and whenever it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf


class ExampleSignature:
    """Raises ValueError where the model has no such signature, or not those outputs."""

    def __init__(self, model_dir: str, name: str, outputs: Mapping[str, str]) -> None:
        """Loads the model.

        Args:
          model_dir: of the SavedModel.
          name: of the signature.
          outputs: those that are needed, with their shapes as words, such as `[n, T]`.
        """
        self._model_dir, self._name, self._outputs = model_dir, name, outputs
        # The model owns the variables that the signature uses, so it has to live as long.
        self._model = tf.saved_model.load(model_dir)
        signatures = self._model.signatures
        if name not in signatures:
            raise ValueError(
                f"The SavedModel {model_dir} has no signature {name!r}, only {sorted(signatures)}. "
                "Export the model with the signatures of our contract."
            )
        self._signature = signatures[name]
        inputs = self._signature.structured_input_signature[1]
        if len(inputs) != 1:
            raise ValueError(
                f"{name!r} of {model_dir} takes {sorted(inputs)}; expected one input, serialised tf.Examples [n]."
            )
        (self._input,) = inputs
        missing = set(outputs) - set(self._signature.structured_outputs)
        if missing:
            raise ValueError(
                f"{name!r} of {model_dir} lacks the outputs {sorted(missing)}; it gives "
                f"{sorted(self._signature.structured_outputs)}."
            )

    def __call__(self, examples: Sequence[bytes]) -> dict[str, np.ndarray]:
        """Each output, one row an example."""
        answer = self._signature(**{self._input: tf.constant(examples, tf.string)})
        found = {}
        for name, shape in self._outputs.items():
            values = answer[name].numpy()
            if values.ndim != shape.count(",") + 1 or len(values) != len(examples):
                raise ValueError(
                    f"{self._name!r} of {self._model_dir} gave {name} of shape {values.shape} for {len(examples)} "
                    f"examples; expected {shape}."
                )
            found[name] = values
        return found
