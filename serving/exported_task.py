"""The task that is written beside an exported model, which its server can tell too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

# Pillow, which a client that asks for a window's size has no use for, is imported with the images' formats.
if TYPE_CHECKING:
    from serving.images.image_format import ImageFormat


@dataclasses.dataclass(frozen=True)
class ExportedTask:
    """The task of an exported model, as plain data: another version of the project may have written it.

    A property raises KeyError if that version did not write its value.
    """

    values: Mapping[str, Any]
    """All of assets/task.json."""

    @property
    def name(self) -> str:
        """The task's name."""
        return str(self.values["name"])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """[H, W, C] of the images that the model takes."""
        height, width, channels = self.values["image_shape"]
        return height, width, channels

    @property
    def crop_margin(self) -> tuple[int, int]:
        """Rows and columns by which the stored images are larger."""
        rows, columns = self.values["data"]["crop_margin"]
        return rows, columns

    @property
    def binary(self) -> bool:
        """Whether the model's pixels are 0 or 1."""
        return bool(self.values["binarisation"] != "none")

    @property
    def steps(self) -> int:
        """T: the glimpses that a model takes of an image."""
        return int(self.values["glimpses"])

    @property
    def classes(self) -> int | None:
        """The number of classes; None of a generative model."""
        return self.values.get("classes")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class; empty where they have numbers alone."""
        names = self.values["data"].get("class_names") or ()
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError("data.class_names is no list of texts")
        return tuple(names)

    def class_name(self, label: int) -> str:
        """The name of a label; its number where it has none."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)

    @property
    def read_filters(self) -> int | None:
        """N along a side of the read window; None of a model without attention."""
        return int(self.values["read"]) if "read" in self.values else self._attention("read")

    @property
    def write_filters(self) -> int | None:
        """N along a side of the write window; None of a classifier, and of a model without attention."""
        return self._attention("write")

    @property
    def test_split(self) -> str:
        """The split that decides on the model."""
        return str(self.values["data"]["test"])

    def image_format(self, split: str | None = None) -> ImageFormat:
        """Returns the format of the model's images, or of the stored ones of a split, which may keep intensities."""
        from serving.images.image_format import ImageFormat

        keeps_intensities = self.values["binarisation"] == "stochastic_each_epoch" and split in self._training_splits()
        return ImageFormat(
            shape=self.image_shape, margin=self.crop_margin, binary=self.binary and not keeps_intensities
        )

    def input_format(self) -> ImageFormat:
        """Returns the format of images that somebody gives the model, which become what training's images became."""
        from serving.images.preparation import Preparation

        data = self.values["data"]
        preparation = Preparation.from_json(data)
        if preparation is None:
            return self.image_format()
        background = data.get("background")
        modes = {"threshold": "threshold", "stochastic": "stochastic", "stochastic_each_epoch": "stochastic"}
        return dataclasses.replace(
            self.image_format(),
            preparation=preparation,
            background=None if background is None else tuple(background),
            binarisation=modes.get(str(self.values["binarisation"]), "none"),
        )

    def _attention(self, side: str) -> int | None:
        attention = self.values.get("attention", "none")
        return None if attention == "none" else int(attention[side])

    def _training_splits(self) -> list[str]:
        train = str(self._data("train"))
        # A TFDS data set's may be several, joined by +; a folder of images may be called so.
        return [train] if "images" in self.values["data"] else train.split("+")

    def _data(self, field: str) -> Any:
        return self.values["data"][field]
