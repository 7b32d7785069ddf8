"""TFDS builder of `two_digit_mnist`: two MNIST digits at random places of a 60 x 60 image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from components.datasets import composition
from components.datasets.composition import Config
from components.datasets.digit_source import SIDE, Digits


class Builder(composition.Composition):
    """Images [60, 60, 1] uint8, `labels` [2] of the two digits, and `id`; the paper's section 4.3."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Two digits, added and clipped."}
    BUILDER_CONFIGS: ClassVar[list[Config]] = [Config.from_name("mnist-250000"), Config.from_name("digits-5000")]
    IMAGE_SHAPE = (60, 60)
    DRAWS = 6
    FEATURES: ClassVar[Mapping[str, Any]] = {
        "labels": tfds.features.Sequence(tfds.features.ClassLabel(num_classes=10), length=2)
    }

    @staticmethod
    def compose(digits: Digits, words: np.ndarray) -> dict[str, np.ndarray]:
        """Adds two whole random digits at uniform places; they may overlap, and may be the same digit."""
        rows, columns = Builder.IMAGE_SHAPE
        canvas = np.zeros((len(words), rows, columns), np.uint16)
        labels = []
        for draws in np.split(words, 2, axis=1):
            chosen = composition.choices(draws[:, 0], len(digits))
            tops = composition.choices(draws[:, 1], rows - SIDE + 1)
            lefts = composition.choices(draws[:, 2], columns - SIDE + 1)
            composition.add(canvas, digits.images[chosen], tops, lefts)
            labels.append(digits.labels[chosen])
        return {"image": composition.clip(canvas), "labels": np.stack(labels, axis=1)}
