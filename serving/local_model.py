"""A SavedModel that answers in this process, with the methods of a server's client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from serving.client import BadInput, ModelMetadata, ServerFailed, SignatureNotFound, UnexpectedAnswer, answers
from serving.client.signature_calls import Outputs, SignatureCalls, as_array, row_count
from serving.images.image_format import ImageFormat
from serving.reference.model_reference import BadReference, Reference
from serving.saved_model import load, read_reference, read_task, refusal

_BATCH_ROWS = 64
"""A call's rows: enough to fill the processor, few enough for the steps of large images to fit in memory."""


class LocalModel(SignatureCalls):
    """Answers as a server with this model would. Threads may share it."""

    def __init__(self, directory: str, *, name: str) -> None:
        """Loads the SavedModel in `directory`, or the newest of the numbered versions there.

        Raises:
          ValueError: if there is none, or it is damaged.
        """
        self.model = name
        self._saved_model = load(directory)
        self._reference: Reference | None = None
        self._reference_is_read = False

    def close(self) -> None:
        """Does nothing: the memory is free when nothing refers to the model."""

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        *,
        output_filter: tuple[str, ...] = (),
        timeout_seconds: float | None = None,
        expected: Sequence[str] = (),
    ) -> Outputs:
        """Calls a signature, see `SignatureCalls`."""
        import tensorflow as tf

        del timeout_seconds
        if signature not in self._saved_model.signatures:
            raise SignatureNotFound(
                f"The model {self.model} has no signature {signature!r}, only {sorted(self._saved_model.signatures)}."
            )
        function = self._saved_model.signature(signature)
        inputs = {alias: as_array(array, alias) for alias, array in inputs.items()}
        _check_shapes(inputs, function.inputs)
        row_count(inputs)
        try:
            outputs = function.call(inputs, batch_rows=_BATCH_ROWS)
        except tf.errors.InvalidArgumentError as error:
            raise BadInput(f"The model {self.model} refuses the input: {refusal(error)}") from error
        except (tf.errors.OpError, ValueError) as error:
            raise ServerFailed(f"The model {self.model} failed: {error}") from error
        if missing := [name for name in (*expected, *output_filter) if name not in outputs]:
            raise UnexpectedAnswer(f"The answer has no {', '.join(missing)}, only {sorted(outputs)}.")
        return {name: value for name, value in outputs.items() if not output_filter or name in output_filter}

    def metadata(self) -> ModelMetadata:
        """Returns the signatures; the version is 0 where the model's folder has no number."""
        version = Path(self._saved_model.directory).name
        return ModelMetadata(
            name=self.model,
            version=int(version) if version.isdecimal() else 0,
            signatures={
                name: answers.Signature(
                    {key: answers.TensorSpec(*spec) for key, spec in function.inputs.items()},
                    {key: answers.TensorSpec(*spec) for key, spec in function.outputs.items()},
                )
                for name, function in sorted(self._saved_model.signatures.items())
            },
        )

    def input_format(self) -> ImageFormat | None:
        """Returns what the exported task tells; None where there is none."""
        task = read_task(self._saved_model.directory)
        return None if task is None else task.input_format()

    def class_names(self) -> tuple[str, ...]:
        """Returns what the exported task tells; empty where there is none."""
        task = read_task(self._saved_model.directory)
        return () if task is None else task.class_names

    def reference(self) -> Reference | None:
        """Returns what lies beside the model; None where nothing does. Raises UnexpectedAnswer if it is no use."""
        if not self._reference_is_read:
            try:
                self._reference = read_reference(self._saved_model.directory)
            except BadReference as error:
                raise UnexpectedAnswer(f"The model {self.model}: {error}") from error
            self._reference_is_read = True
        return self._reference

    def window_size(self, side: str) -> int | None:
        """Returns N of the `read` or `write` window, which the exported task tells; None where there is no task."""
        task = read_task(self._saved_model.directory)
        if task is None:
            return None
        return {"read": task.read_filters, "write": task.write_filters}[side]


def _check_shapes(inputs: Mapping[str, np.ndarray], specs: Mapping[str, object]) -> None:
    """Raises BadInput as a server does, where TensorFlow would speak of its graph."""
    if inputs.keys() != specs.keys():
        raise BadInput(f"The signature takes {sorted(specs)}; got {sorted(inputs)}.")
    for name, array in inputs.items():
        shape = specs[name].shape  # type: ignore[attr-defined]
        if shape is None:
            continue
        fits = array.ndim == len(shape) and all(
            size in (None, own) for size, own in zip(shape, array.shape, strict=True)
        )
        if not fits:
            raise BadInput(f"{name} has the shape {list(array.shape)}; expected {_text(shape)}.")


def _text(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("n" if size is None else str(size) for size in shape) + "]"
