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

from components.run_report import event_curves, examples
from components.run_report.event_curves import Curves
from components.run_report.examples import Images
from components.run_report.model import Model
from serving.saved_model import TASK_FILE
from trainer.task import ClassifyingTask, GenerativeTask, Task

_MAX_IMAGES = 5_000
"""Images of each split that the report reads."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run. Each part is opened once, on first use, and raises whatever goes wrong then."""

    model_number: str
    """N of the model's folder, Trainer/model/N."""
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

    @functools.cached_property
    def task(self) -> GenerativeTask | ClassifyingTask:
        """The task that was exported with the model."""
        return Task.from_json(_read(os.path.join(self.model_dir, TASK_FILE)))

    @property
    def classifies(self) -> bool:
        """Whether the model is a classifier."""
        return isinstance(self.task, ClassifyingTask)

    @functools.cached_property
    def evaluation(self) -> dict[str, Any]:
        """The evaluator's evaluation.json."""
        return json.loads(_read(self.evaluation_file))

    @functools.cached_property
    def model(self) -> Model:
        """The loaded model."""
        return Model(self.model_dir)

    @functools.cached_property
    def curves(self) -> Curves:
        """The curves of the training."""
        return event_curves.read(self.logs_dir)

    @functools.cached_property
    def classifications(self) -> dict[str, np.ndarray]:
        """A classifier's `probabilities`, `label` and `glimpse_window` for `images` of the test split."""
        keep = ("probabilities", "label", "glimpse_window")
        return self.model.ask("classify", keep, image=self.images(self.task.data.test).pixels)

    def files(self, split: str) -> list[str]:
        """Lists the files of a split by name."""
        return sorted(tf.io.gfile.glob(os.path.join(self.split_dirs[split], "*")))

    def images(self, split: str) -> Images:
        """Reads the first 5,000 images of a split, or all of fewer."""
        if split not in self._images:
            self._images[split] = examples.read(self.files(split), self.task, split, _MAX_IMAGES)
        return self._images[split]

    @functools.cached_property
    def _images(self) -> dict[str, Images]:
        return {}


def _read(path: str) -> str:
    with tf.io.gfile.GFile(path) as file:
        return str(file.read())
