"""TFDS builder of `cluttered_mnist`: one MNIST digit among pieces of others, anywhere in a 100 x 100 image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from components.datasets import composition
from components.datasets.composition import Config
from components.datasets.digit_source import SIDE, Digits

DISTRACTORS = 8
PIECE = 8
"""Rows, and columns, of a distractor."""


class Builder(composition.Composition):
    """Images [100, 100, 1] uint8, `label` of the whole digit, and `id`; the paper's section 4.1."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Eight distractors of 8 x 8 pixels."}
    BUILDER_CONFIGS: ClassVar[list[Config]] = [Config.from_name("mnist-1000000"), Config.from_name("digits-10000")]
    IMAGE_SHAPE = (100, 100)
    DRAWS = 5 * DISTRACTORS + 3
    FEATURES: ClassVar[Mapping[str, Any]] = {"label": tfds.features.ClassLabel(num_classes=10)}

    @staticmethod
    def compose(digits: Digits, words: np.ndarray) -> dict[str, np.ndarray]:
        """Adds pieces of random digits, cut at uniform offsets, at uniform places, and then a whole digit."""
        rows, columns = Builder.IMAGE_SHAPE
        canvas = np.zeros((len(words), rows, columns), np.uint16)
        *pieces, whole = np.split(words, range(5, 5 * DISTRACTORS + 1, 5), axis=1)
        for draws in pieces:
            chosen = composition.choices(draws[:, 0], len(digits))
            from_rows = composition.choices(draws[:, 1], SIDE - PIECE + 1)[:, None] + np.arange(PIECE)
            from_columns = composition.choices(draws[:, 2], SIDE - PIECE + 1)[:, None] + np.arange(PIECE)
            piece = digits.images[chosen[:, None, None], from_rows[:, :, None], from_columns[:, None, :]]
            tops = composition.choices(draws[:, 3], rows - PIECE + 1)
            lefts = composition.choices(draws[:, 4], columns - PIECE + 1)
            composition.add(canvas, piece, tops, lefts)
        chosen = composition.choices(whole[:, 0], len(digits))
        tops = composition.choices(whole[:, 1], rows - SIDE + 1)
        lefts = composition.choices(whole[:, 2], columns - SIDE + 1)
        composition.add(canvas, digits.images[chosen], tops, lefts)
        return {"image": composition.clip(canvas), "label": digits.labels[chosen]}
