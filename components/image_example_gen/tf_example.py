"""Converts one example of a TFDS data set to the tf.Example of our contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from components.image_example_gen.binarise import binarise
from components.image_example_gen.ingestion_settings import IngestionSettings


def to_example(features: Mapping[str, Any], *, split: str, settings: IngestionSettings) -> tf.train.Example:
    """Returns `image` (bytes, uint8 row-major [H, W, C]), `id` (bytes) and, if the task has labels, `label` (int64).

    Args:
      features: NumPy values, with TFDS's `tfds_id`, which becomes the id if the data set has no feature `id`.
      split: the split that the example belongs to, which decides the binarisation.
      settings: the settings of the ingestion.

    Raises:
      ValueError: if the image or the label is not what the task says; names split and id.
    """
    try:
        return checked_example(features, split=split, settings=settings)
    except ValueError as error:
        name = example_id(features).decode()
        raise ValueError(f"{settings.data.address}, split {split!r}, example {name!r}: {error}") from error


def checked_example(features: Mapping[str, Any], *, split: str, settings: IngestionSettings) -> tf.train.Example:
    """As `to_example`, but an error says only what is wrong, for callers who know which image it is."""
    identity = example_id(features)
    image = _image(features, settings)
    image = binarise(image, settings.binarisation[split], seed=settings.binarisation_seed, example_id=identity)
    values = {"image": _bytes(image.tobytes()), "id": _bytes(identity)}
    if settings.data.has_labels:
        values["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[_label(features, settings)]))
    return tf.train.Example(features=tf.train.Features(feature=values))


def example_id(features: Mapping[str, Any]) -> bytes:
    """Returns the data set's own id of an example, or else TFDS's."""
    value = features["id"] if "id" in features else features["tfds_id"]
    return value if isinstance(value, bytes) else str(value).encode()


def _image(features: Mapping[str, Any], settings: IngestionSettings) -> np.ndarray:
    if "image" not in features:
        raise ValueError(f"the data set has no feature 'image', only {sorted(features)}.")
    image = np.asarray(features["image"])
    if image.dtype != np.uint8:
        raise ValueError(f"the image has dtype {image.dtype}; expected uint8, intensities 0 to 255.")
    if image.shape != settings.image_shape:
        raise ValueError(
            f"the image has shape {image.shape}; the task says {settings.image_shape} (rows, columns, channels). "
            "Correct image_shape or data.crop_margin in the task, or take a data set whose images all have it."
        )
    return image


def _label(features: Mapping[str, Any], settings: IngestionSettings) -> int:
    if "label" not in features:
        raise ValueError(
            f"there is no feature 'label', only {sorted(features)}. Set the task's data.has_labels to False."
        )
    label = np.asarray(features["label"])
    if label.shape != () or not np.issubdtype(label.dtype, np.integer):
        raise ValueError(f"the label is {label!r}; expected one whole number.")
    if label < 0:
        raise ValueError(f"the label is {label}, which TFDS writes for an unlabelled example; expected 0 or more.")
    if settings.classes is not None and label >= settings.classes:
        raise ValueError(
            f"the label is {label}; the task has {settings.classes} classes, so expected 0 to {settings.classes - 1}. "
            "Correct classes in the task, or take the data set that it is for."
        )
    return int(label)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
