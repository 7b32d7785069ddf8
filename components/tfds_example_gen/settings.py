"""What decides the bytes that ingestion writes, and nothing else, so that TFX's cache holds when the recipe changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from google.protobuf import json_format, struct_pb2
from tfx.proto import example_gen_pb2

from trainer.task import Binarisation, ClassifyingTask, Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class IngestionSettings:
    """The part of a task that ingestion depends on; it travels to the executor in a CustomConfig."""

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
    """Of each split, by its name."""
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

    def to_custom_config(self) -> example_gen_pb2.CustomConfig:
        """As the message that TFX carries to the executor."""
        struct = struct_pb2.Struct()
        values = {
            **dataclasses.asdict(self),
            "image_shape": list(self.image_shape),
            "binarisation": {split: binarisation.value for split, binarisation in self.binarisation.items()},
        }
        if self.classes is None:
            # So that the cache of a task that knows no classes holds what it held before there were any.
            del values["classes"]
        struct.update(values)
        config = example_gen_pb2.CustomConfig()
        config.custom_config.Pack(struct)
        return config

    @classmethod
    def from_custom_config(cls, json: str) -> IngestionSettings:
        """The inverse of `to_custom_config`, from the JSON that TFX turns the message into."""
        config = json_format.Parse(json, example_gen_pb2.CustomConfig())
        struct = struct_pb2.Struct()
        config.custom_config.Unpack(struct)
        values = json_format.MessageToDict(struct)
        # A Struct knows only doubles, so whole numbers come back as floats.
        rows, columns, channels = (int(size) for size in values["image_shape"])
        return cls(
            **{
                **values,
                "image_shape": (rows, columns, channels),
                "classes": int(values["classes"]) if "classes" in values else None,
                "binarisation": {split: Binarisation(value) for split, value in values["binarisation"].items()},
                "binarisation_seed": int(values["binarisation_seed"]),
            }
        )
