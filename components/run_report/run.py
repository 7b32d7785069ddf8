"""The outputs of a run, as its report needs them."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from components.run_report import event_curves
from components.run_report.event_curves import Curves
from serving.examples import Examples, read_first
from serving.saved_model import TASK_FILE, SavedModel, require_task
from trainer.task import ClassifyingTask, Task

_BATCH_ROWS = 64
"""Rows a call: a trace of so many images is a few hundred MiB at most."""
_MAX_EXAMPLES = 5_000
"""Examples of each split that the report reads."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run. Each part is opened once, on first use, and raises whatever goes wrong then."""

    name: str
    """Of the model on one machine, such as `model 7`; of the run on Kubeflow."""
    run_id: str | None
    """Kubeflow Pipelines' id of the run; None elsewhere."""
    model_dir: str
    """Folder of the SavedModel."""
    logs_dir: str
    """Folder of TensorBoard's event files."""
    evaluation_file: str
    split_dirs: Mapping[str, str]
    counts: Mapping[str, int]
    """Number of examples in each split."""
    unservable: str | None
    """Reason for which the serving check refused the model; None if it passed."""
    pushed_to: str | None
    """Folder that TF Serving reads; None if the model was not pushed."""
    init_from: str | None
    """Where training started; None for random weights."""

    @functools.cached_property
    def task(self) -> Task:
        """The task that was exported with the model."""
        return Task.from_json(_read(self.task_file))

    @property
    def task_file(self) -> str:
        """The file of that task, which `draw run` takes too."""
        return os.path.join(self.model_dir, TASK_FILE)

    @property
    def classifies(self) -> bool:
        """Whether the model is a classifier."""
        return isinstance(self.task, ClassifyingTask)

    @functools.cached_property
    def evaluation(self) -> dict[str, Any]:
        """The evaluator's evaluation.json."""
        return json.loads(_read(self.evaluation_file))

    @functools.cached_property
    def model(self) -> SavedModel:
        """The loaded model."""
        return SavedModel(self.model_dir)

    @functools.cached_property
    def curves(self) -> Curves:
        """The curves of the training."""
        return event_curves.read(self.logs_dir)

    @functools.cached_property
    def classifications(self) -> dict[str, np.ndarray]:
        """A classifier's answers for `examples` of the test split."""
        return self.call("classify", image=self.examples(self.task.data.test).images)

    def call(
        self, signature: str, outputs: Mapping[str, str] | None = None, **inputs: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Calls a signature of the model in batches. Raises ValueError if an output is not finite.

        Args:
          signature: its name.
          outputs: which to return, with their shapes; None for all.
          **inputs: arrays of equally many rows; uint8 images are divided by 255.
        """
        return self.model.signature(signature).call(inputs, outputs=outputs, batch_rows=_BATCH_ROWS, finite=True)

    def files(self, split: str) -> list[str]:
        """Lists the files of a split by name."""
        return sorted(tf.io.gfile.glob(os.path.join(self.split_dirs[split], "*")))

    def examples(self, split: str) -> Examples:
        """Reads the first 5,000 examples of a split, or all of fewer, as images from 0 to 255."""
        if split not in self._examples:
            images = require_task(self.model_dir).image_format(split)
            self._examples[split] = read_first(self.files(split), images, _MAX_EXAMPLES, as_bytes=True)
        return self._examples[split]

    @functools.cached_property
    def training_examples(self) -> Examples:
        """The first 5,000 examples of each split that is trained on."""
        images, labels = zip(*(self.examples(split) for split in self.task.data.training_splits), strict=True)
        return Examples(np.concatenate(images), None if labels[0] is None else np.concatenate(labels))

    @functools.cached_property
    def _examples(self) -> dict[str, Examples]:
        return {}


def full_path(path: str) -> str:
    """A path as a reader of the page needs it: that of a local run begins at the run's folder. An address stays."""
    return path if "://" in path else os.path.abspath(path)


def _read(path: str) -> str:
    with tf.io.gfile.GFile(path) as file:
        return str(file.read())
