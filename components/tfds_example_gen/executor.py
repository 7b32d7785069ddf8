"""Beam code of TfdsExampleGen: reads the splits of a TFDS data set in parallel and writes checked tf.Examples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import tensorflow_datasets as tfds
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.types import standard_component_specs

from components.tfds_example_gen.dataset import open_dataset
from components.tfds_example_gen.example import to_example
from components.tfds_example_gen.settings import IngestionSettings
from trainer.task import Binarisation


class Executor(BaseExampleGenExecutor):
    """Writes each split once; raises where the data set or one of its examples is not what the task says."""

    def GetInputSourceToExamplePTransform(self) -> type[beam.PTransform]:
        """The transform that TFX applies to each split, as `ReadSplit(exec_properties, split)`."""
        return ReadSplit


class ReadSplit(beam.PTransform):
    """One split as serialised tf.Examples.

    Args:
      exec_properties: the component's; their `custom_config` holds an IngestionSettings.
      split: the name of a TFDS split.
    """

    def __init__(self, exec_properties: dict[str, Any], split: str) -> None:
        super().__init__()
        self._settings = IngestionSettings.from_custom_config(
            exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY]
        )
        self._split = split

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """Opens the data set here, where the pipeline is built, so that it is prepared once and not by each worker."""
        builder = open_dataset(self._settings)
        # TFDS's own check of the count is off, because it says neither which split nor what to do; ours is below.
        read_config = tfds.ReadConfig(add_tfds_id=True, assert_cardinality=False)
        converted = (
            pipeline
            | "ReadFromTFDS" >> tfds.beam.ReadFromTFDS(builder, split=self._split, read_config=read_config)
            | "AsNumPy" >> beam.Map(tfds.as_numpy)
            | "Convert" >> beam.Map(_convert, self._split, self._settings).with_output_types(tuple[int, bytes])
        )
        _ = (
            converted
            | "Extent" >> beam.MapTuple(lambda brightest, _: (1, brightest))
            | "WholeExtent" >> beam.CombineGlobally(_join_extents)
            | "CheckExtent"
            >> beam.Map(
                check_extent,
                split=self._split,
                expected_count=builder.info.splits[self._split].num_examples,
                settings=self._settings,
            )
        )
        return converted | "Examples" >> beam.Values()


def check_extent(extent: tuple[int, int], *, split: str, expected_count: int, settings: IngestionSettings) -> None:
    """Raises ValueError where the number of examples or the brightest pixel of a split cannot be right."""
    count, brightest = extent
    if count != expected_count:
        raise ValueError(
            f"{settings.builder}, split {split!r}: its files hold {count} examples, but its dataset_info.json says "
            f"{expected_count}. The data set is damaged: delete its folder so that the next run prepares it anew."
        )
    binarisation = settings.binarisation[split]
    if brightest <= 1 and binarisation is not Binarisation.GIVEN:
        raise ValueError(
            f"{settings.builder}, split {split!r}: no pixel of {count} images is above {brightest} of 255, so they are "
            f"binarised already, and {binarisation.value!r} would leave them black. Set binarisation to given."
        )


def _join_extents(extents: Iterable[tuple[int, int]]) -> tuple[int, int]:
    count, brightest = 0, 0
    for part_count, part_brightest in extents:
        count += part_count
        brightest = max(brightest, part_brightest)
    return count, brightest


def _convert(features: dict[str, Any], split: str, settings: IngestionSettings) -> tuple[int, bytes]:
    """The brightest pixel before binarisation, and the serialised tf.Example."""
    example = to_example(features, split=split, settings=settings)
    # Deterministic, so that two runs write the same bytes: a map has no order of its own.
    return int(features["image"].max()), example.SerializeToString(deterministic=True)
