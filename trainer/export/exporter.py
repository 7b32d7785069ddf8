"""Exports the weights as a SavedModel with the signatures of the task's kind."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from trainer.export.classifier_signatures import ClassifierSignatures
from trainer.export.generative_signatures import GenerativeSignatures
from trainer.export.signatures import Signatures
from trainer.task import ClassifyingTask, GenerativeTask, Task

SIGNATURES: Mapping[type[Task], type[Signatures]] = {
    GenerativeTask: GenerativeSignatures,
    ClassifyingTask: ClassifierSignatures,
}
"""The signatures of each kind of task."""


def export(task: Task, weights: Mapping[str, np.ndarray], directory: str) -> None:
    """Writes the SavedModel, with the resolved task as assets/task.json. Loading it needs TensorFlow alone."""
    with tempfile.TemporaryDirectory() as scratch:
        task_file = pathlib.Path(scratch) / "task.json"
        task_file.write_text(task.to_json(), encoding="utf-8")
        module = signatures(task, weights, str(task_file))
        tf.saved_model.save(module, directory, signatures=module.functions())
    if module.METHODS:
        # TensorFlow 2 writes Predict's method name into every signature.
        updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(directory)
        for name, method in module.METHODS.items():
            updater.replace_method_name(name, method)
        updater.save()


def read_task(directory: str | os.PathLike[str]) -> Task:
    """Reads the task of a SavedModel. Raises ValueError if it has none."""
    path = pathlib.Path(directory, "assets", "task.json")
    if not path.exists():
        raise ValueError(f"The SavedModel {directory} has no assets/task.json: expected one that `draw run` exported.")
    return Task.from_json(path.read_text(encoding="utf-8"))


def signatures(task: Task, weights: Mapping[str, np.ndarray], task_file: str) -> Signatures:
    """Builds the module that is exported; `task_file` holds the resolved task, which becomes an asset."""
    variables = {name: tf.Variable(value, trainable=False, name=name) for name, value in weights.items()}
    module = SIGNATURES[type(task)](task, variables)
    module.task_json = tf.saved_model.Asset(task_file)
    return module
