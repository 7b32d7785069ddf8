"""Writes the signatures of a SavedModel as TensorFlow Lite files, each held against the SavedModel first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipeline.portable.verification import Exported, Source, write
from trainer.export import exporter
from trainer.training import initial_weights, recurrence


def export(directory: str, folder: Path) -> Iterator[Exported]:
    """Writes SIGNATURE.tflite for each signature, for any number of rows, and yields it.

    TensorFlow's converter makes them of the functions that the SavedModel is traced from; they need no operation of
    TensorFlow's.

    Args:
      directory: a SavedModel with its task.
      folder: made where it is missing.

    Raises:
      NotEqual: if TensorFlow Lite answers otherwise than the SavedModel; that file is not written.
      ValueError: as `Source`, and if the converter refuses a signature.
    """
    source = Source(directory)
    weights = initial_weights.read_weights(source.directory)
    variables = {name: tf.Variable(value, trainable=False) for name, value in weights.items()}
    module = exporter.SIGNATURES[type(source.task)](source.task, variables, scan=_scan)
    source.write_facts(folder)
    for name in source.signatures:
        function = getattr(module, name).get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content = converter.convert()
        except Exception as error:  # of classes that are not public
            raise ValueError(f"{name}: TensorFlow's converter refuses it: {str(error).splitlines()[0]}") from error
        answers = tf.lite.Interpreter(model_content=content).get_signature_runner()(**source.inputs(name))
        difference = source.difference(name, answers, "TensorFlow Lite")
        path = folder / f"{name}.tflite"
        write(path, content)
        yield Exported(path, difference)


def _scan(
    step: recurrence.Step[Any],
    weights: recurrence.Weights,
    state: Any,
    steps: int,
    shapes: Mapping[str, list[int]],
) -> tuple[Any, recurrence.Outputs]:
    """Runs `step` as `recurrence.scan` does, without its lists, which the converter takes for a fixed batch alone.

    An output has its place in all of them from the start, where it is added to zeros.
    """
    lin = recurrence.linear(weights)
    rows = tf.shape(state[0])[0]
    stacked = {name: tf.zeros([steps, rows, *shape], state[0].dtype) for name, shape in shapes.items()}

    def body(t: tf.Tensor, state: Any, stacked: recurrence.Outputs) -> tuple[tf.Tensor, Any, recurrence.Outputs]:
        state, outputs = step(lin, t, state)
        here = tf.one_hot(t, steps, dtype=state[0].dtype)
        added = {
            name: sum_ + tf.reshape(here, [steps, *[1] * outputs[name].shape.rank]) * outputs[name][None]
            for name, sum_ in stacked.items()
        }
        return t + 1, state, added

    _, state, stacked = tf.while_loop(
        lambda t, *_: t < steps, body, (tf.constant(0), state, stacked), maximum_iterations=steps
    )
    return state, stacked
