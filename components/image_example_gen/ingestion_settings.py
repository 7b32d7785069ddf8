"""The settings that decide the bytes ingestion writes, and no others, so that a new recipe finds them in the cache."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping

from components.image_example_gen.image_names import TFDS_SCHEME, survey
from serving.images.pixel_draws import SEED
from trainer import tasks
from trainer.task import Binarisation, ClassifyingTask, DataSource, ImageFiles, Task, data_from_json, data_to_json


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
    binarisation_seed: int = SEED
    fingerprint: str = ""
    """Tells a user's files from those that were there before; "" where nobody has looked."""

    @classmethod
    def for_task(cls, task: Task, *, data_dir: str | None) -> IngestionSettings:
        """Takes the settings from a task; `data_dir` is no part of it."""
        return cls(
            data=_without_readers_values(task.data),
            data_dir=data_dir,
            image_shape=task.stored_shape,
            classes=task.classes if isinstance(task, ClassifyingTask) else None,
            binarisation={split: task.split_binarisation(split) for split in task.data.splits},
        )

    @classmethod
    def resolve(cls, text: str, *, train_examples: int, data_dir: str | None) -> IngestionSettings:
        """Reads its own JSON, or takes the settings from the task that `text` names or holds, see `tasks.resolve`."""
        # Where it leads to is what messages name.
        data_dir = os.path.realpath(data_dir) if data_dir and os.path.islink(data_dir) else data_dir
        if text.startswith("{") and "recipe" not in json.loads(text):
            return dataclasses.replace(cls.from_json(text), data_dir=data_dir)
        task = tasks.resolve(text, train_examples=train_examples)
        return cls.for_task(task, data_dir=data_dir)

    def with_fingerprint(self) -> IngestionSettings:
        """Looks at a user's files, so that the cache notices a change. Raises ValueError if there are none."""
        if not isinstance(self.data, ImageFiles) or self.data.address.startswith(TFDS_SCHEME):
            return self
        return dataclasses.replace(self, fingerprint=survey(self.data).fingerprint)

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


def _without_readers_values(data: DataSource | ImageFiles) -> DataSource | ImageFiles:
    """Leaves out what only the reader of the examples needs."""
    data = dataclasses.replace(data, crop_margin=(0, 0), horizontal_flip=False)
    return dataclasses.replace(data, class_names=()) if isinstance(data, DataSource) else data
