"""A run as the sections of its report see it: each part is opened when it is first asked for, and once."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from components.exported_task import TASK_FILE
from components.run_report import event_curves, examples
from components.run_report.event_curves import Curves
from components.run_report.examples import Images
from components.run_report.model import Model
from trainer.task import ClassifyingTask, GenerativeTask, Task

FIRST_EXAMPLES = 5_000
"""Examples of each split that the statistics of the images are made of."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Where everything lies. A property raises what goes wrong when it is opened."""

    model_number: str
    """That of the model's folder, Trainer/model/N."""
    model_dir: str
    """The SavedModel."""
    logs_dir: str
    """TensorBoard's summaries."""
    evaluation_file: str
    split_dirs: Mapping[str, str]
    counts: Mapping[str, int]
    """Examples in each split."""
    unservable: str | None
    """Why the serving check refused the model."""
    pushed_to: str | None
    """Where TF Serving finds it; None of a model that was not pushed."""

    @functools.cached_property
    def task(self) -> GenerativeTask | ClassifyingTask:
        """As it was written beside the model."""
        return Task.from_json(_read(os.path.join(self.model_dir, TASK_FILE)))

    @functools.cached_property
    def evaluation(self) -> dict[str, Any]:
        """The evaluator's evaluation.json."""
        return json.loads(_read(self.evaluation_file))

    @functools.cached_property
    def model(self) -> Model:
        """Loaded."""
        return Model(self.model_dir)

    @functools.cached_property
    def curves(self) -> Curves:
        """Of the training."""
        return event_curves.read(self.logs_dir)

    @functools.cached_property
    def answers(self) -> dict[str, np.ndarray]:
        """Of a classifier, on `images` of the split that the gate judged by."""
        keep = ("probabilities", "label", "glimpse_window")
        return self.model.ask("classify", keep, image=self.images(self.task.data.test).pixels)

    def files(self, split: str) -> list[str]:
        """Of a split, in the order of their names."""
        return sorted(tf.io.gfile.glob(os.path.join(self.split_dirs[split], "*")))

    def images(self, split: str) -> Images:
        """The first of a split, at most FIRST_EXAMPLES."""
        if split not in self._images:
            self._images[split] = examples.read(self.files(split), self.task, split, FIRST_EXAMPLES)
        return self._images[split]

    @functools.cached_property
    def _images(self) -> dict[str, Images]:
        return {}


def _read(path: str) -> str:
    with tf.io.gfile.GFile(path) as file:
        return str(file.read())
