"""A TFDS data set for tests: 0/1 images of 3 x 5 pixels, with neither label nor id, 7 to train and 4 to test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

IMAGE_SHAPE = (3, 5, 1)
COUNTS = {"train": 7, "test": 4}


def image(split: str, index: int) -> np.ndarray:
    """uint8 [3, 5, 1], another one for each example."""
    return np.random.RandomState([len(split), index]).randint(0, 2, IMAGE_SHAPE).astype(np.uint8)


class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("2.1.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"2.1.0": "For tests."}

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=IMAGE_SHAPE)})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {split: self._generate_examples(split) for split in COUNTS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in range(COUNTS[split]):
            yield index, {"image": image(split, index)}
