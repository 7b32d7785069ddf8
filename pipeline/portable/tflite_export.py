"""Writes the signatures of a SavedModel as TensorFlow Lite files, each held against the SavedModel first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from pipeline.portable.verification import Exported, Source, write


def export(directory: str, folder: Path) -> Iterator[Exported]:
    """Writes SIGNATURE.tflite for each signature, for any number of rows, and yields it.

    TensorFlow's converter makes them of the SavedModel's own functions; they need no operation of TensorFlow's.

    Args:
      directory: a SavedModel with its task.
      folder: made where it is missing.

    Raises:
      NotEqual: if TensorFlow Lite answers otherwise than the SavedModel; that file is not written.
      ValueError: as `Source`, and if the converter refuses a signature.
    """
    source = Source(directory)
    loaded = tf.saved_model.load(source.directory, tags=[tf.saved_model.SERVING])
    write(folder / "task.json", source.task.to_json().encode())
    for name in source.signatures:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([loaded.signatures[name]], loaded)
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
