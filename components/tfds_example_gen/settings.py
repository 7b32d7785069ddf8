"""What decides the bytes that ingestion writes, and nothing else, so that TFX's cache holds when the recipe changes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from trainer import tasks
from trainer.task import Binarisation, ClassifyingTask, Task

BINARISATION_SEED = 0
"""Not the recipe's seed: another training run is measured on the same pixels."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestionSettings:
    """The part of a task that ingestion depends on; it travels to the executor as JSON."""

    builder: str
    """TFDS's `name:version` or `name/config:version`."""
    module: str | None
    """Imported first, so that it registers the builder; None for a builder of TFDS's own."""
    data_dir: str | None
    """TFDS's directory; None is TFDS's own default (`~/tensorflow_datasets` or $TFDS_DATA_DIR)."""
    image_shape: tuple[int, int, int]
    """[H, W, C] as stored; what the model sees may be a crop of it, which the reader takes."""
    has_labels: bool
    classes: int | None
    """Labels are below it; None where the task does not look at them."""
    binarisation: Mapping[str, Binarisation]
    """Of each split, by its name, in the order of `task.data.splits`."""
    binarisation_seed: int

    @classmethod
    def of_task(cls, task: Task, *, data_dir: str | None, binarisation_seed: int) -> IngestionSettings:
        """What `task` says; `data_dir` and `binarisation_seed` are no part of a task."""
        return cls(
            builder=task.data.builder,
            module=task.data.module,
            data_dir=data_dir,
            image_shape=task.stored_shape,
            has_labels=task.data.has_labels,
            classes=task.classes if isinstance(task, ClassifyingTask) else None,
            binarisation={split: task.split_binarisation(split) for split in task.data.splits},
            binarisation_seed=binarisation_seed,
        )

    @classmethod
    def resolve(cls, text: str, *, train_examples: int, data_dir: str | None) -> IngestionSettings:
        """Those that `text` is, as JSON; or those of the task that it names, see `tasks.resolve`."""
        if text.startswith("{"):
            return dataclasses.replace(cls.from_json(text), data_dir=data_dir)
        task = tasks.resolve(text, train_examples=train_examples)
        return cls.of_task(task, data_dir=data_dir, binarisation_seed=BINARISATION_SEED)

    def to_json(self) -> str:
        """On one line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> IngestionSettings:
        """The inverse of `to_json`."""
        values = json.loads(text)
        rows, columns, channels = values["image_shape"]
        return cls(
            **{
                **values,
                "image_shape": (rows, columns, channels),
                "binarisation": {split: Binarisation(value) for split, value in values["binarisation"].items()},
            }
        )
