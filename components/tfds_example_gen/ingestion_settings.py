"""The settings that decide the bytes ingestion writes, and no others, so that a new recipe finds them in the cache."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from trainer import tasks
from trainer.task import Binarisation, ClassifyingTask, DataSource, ImageFiles, Task, data_from_json, data_to_json

BINARISATION_SEED = 0
"""Not the recipe's seed, so that every training run is judged on the same pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestionSettings:
    """The part of a task that ingestion depends on. Travels to the executor as JSON."""

    data: DataSource | ImageFiles
    """Without what only the reader of the examples does."""
    data_dir: str | None
    """TFDS's directory; None for TFDS's own default (`~/tensorflow_datasets` or $TFDS_DATA_DIR)."""
    image_shape: tuple[int, int, int]
    """[H, W, C] as stored. The model may see a crop of it, which the reader takes."""
    classes: int | None
    """Labels are below it; None if the task does not use them."""
    binarisation: Mapping[str, Binarisation]
    """How each split is binarised, by its name, in the order of `task.data.splits`."""
    binarisation_seed: int = BINARISATION_SEED

    @classmethod
    def for_task(cls, task: Task, *, data_dir: str | None) -> IngestionSettings:
        """Takes the settings from a task; `data_dir` is no part of it."""
        return cls(
            data=dataclasses.replace(task.data, crop_margin=(0, 0), horizontal_flip=False),
            data_dir=data_dir,
            image_shape=task.stored_shape,
            classes=task.classes if isinstance(task, ClassifyingTask) else None,
            binarisation={split: task.split_binarisation(split) for split in task.data.splits},
        )

    @classmethod
    def resolve(cls, text: str, *, train_examples: int, data_dir: str | None) -> IngestionSettings:
        """Reads its own JSON, or takes the settings from the task that `text` names or holds, see `tasks.resolve`."""
        if text.startswith("{") and "recipe" not in json.loads(text):
            return dataclasses.replace(cls.from_json(text), data_dir=data_dir)
        task = tasks.resolve(text, train_examples=train_examples)
        return cls.for_task(task, data_dir=data_dir)

    def to_json(self) -> str:
        """Writes JSON on one line."""
        return json.dumps({**dataclasses.asdict(self), "data": data_to_json(self.data)})

    @classmethod
    def from_json(cls, text: str) -> IngestionSettings:
        """Inverts `to_json`."""
        values = json.loads(text)
        rows, columns, channels = values["image_shape"]
        return cls(
            **{
                **values,
                "data": data_from_json(values["data"]),
                "image_shape": (rows, columns, channels),
                "binarisation": {split: Binarisation(value) for split, value in values["binarisation"].items()},
            }
        )
