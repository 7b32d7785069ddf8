"""Checks the first examples of a split before the rest is read, so that wrong data end a run in seconds."""

from __future__ import annotations

import numpy as np
import tensorflow_datasets as tfds

from components.image_example_gen.ingestion_settings import IngestionSettings
from components.image_example_gen.tf_example import to_example
from trainer.task import Binarisation

EXAMPLES = 100


def check_first_batch(builder: tfds.core.DatasetBuilder, split: str, settings: IngestionSettings) -> None:
    """Raises ValueError if the first examples of a split are not what the task says, or carry no information."""
    read_config = tfds.ReadConfig(add_tfds_id=True, assert_cardinality=False)
    dataset = builder.as_dataset(split=split, read_config=read_config).take(EXAMPLES)
    examples = list(tfds.as_numpy(dataset))
    for features in examples:
        to_example(features, split=split, settings=settings)
    if examples:
        check_images(np.stack([features["image"] for features in examples]), split=split, settings=settings)


def check_images(images: np.ndarray, *, split: str, settings: IngestionSettings) -> None:
    """Raises ValueError if images [n, H, W, C] uint8 are black, all equal, or unexpectedly binarised."""
    first = f"{settings.data.address}, split {split!r}: the first {len(images)} images"
    binarisation, brightest = settings.binarisation[split], images.max()
    if brightest == 0:
        raise ValueError(f"{first} are black: every pixel is 0. The data set is damaged, or was scaled before.")
    if brightest == 1 and binarisation is not Binarisation.GIVEN:
        raise ValueError(
            f"{first} have no pixel above 1 of 255, so they are binarised already, and {binarisation.value!r} would "
            "leave them black. Set binarisation to given."
        )
    if len(images) > 1 and (images == images[0]).all():
        raise ValueError(f"{first} are all the same. The data set is damaged: prepare it anew.")
