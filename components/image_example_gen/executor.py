"""Executor of ImageExampleGen: reads the splits of a data set with Beam and writes checked tf.Examples."""

from __future__ import annotations

import os
from typing import Any

import apache_beam as beam
import tensorflow_datasets as tfds
from tfx.components.example_gen import write_split
from tfx.components.util import examples_utils
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.declared_component import Artifacts, Properties
from components.image_example_gen.first_batch import check_first_batch
from components.image_example_gen.image_ingestion import ingest_images
from components.image_example_gen.ingestion_settings import IngestionSettings
from components.image_example_gen.prepared_dataset import open_dataset
from components.image_example_gen.tf_example import to_example
from trainer.task import ImageFiles


class Executor(BaseBeamExecutor):
    """Writes each split once; fails if the data set or one of its examples is not what the task says.

    TFX's BaseExampleGenExecutor shuffles what it writes: Beam's local runner holds a shuffle in memory, and a million
    images of 100 x 100 are 10 GB. TFDS has shuffled the data set on disk, or it needs no shuffling.
    """

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: Properties) -> None:
        """Writes to `examples`.

        Args:
          input_dict: empty.
          output_dict: `examples`.
          exec_properties: `task` (its name, or the JSON of IngestionSettings), `train_examples` and `data_dir`.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = IngestionSettings.resolve(
            exec_properties["task"],
            train_examples=int(exec_properties["train_examples"]),
            data_dir=exec_properties["data_dir"] or None,
        )
        splits = list(settings.binarisation)
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        examples.split_names = artifact_utils.encode_split_names(splits)
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        data = settings.data
        if isinstance(data, ImageFiles):
            ingest_images(settings, self._make_beam_pipeline, self._beam_pipeline_args or (), examples.uri)
            return
        # Here rather than in the workers, so that the data set is prepared once.
        builder = open_dataset(
            data.builder, data.splits, settings.data_dir, self._beam_pipeline_args or (), module=data.module
        )
        for split in splits:
            check_first_batch(builder, split, settings)
        with self._make_beam_pipeline() as pipeline:
            for split in splits:
                path = os.path.join(artifact_utils.get_split_uri([examples], split), write_split.DEFAULT_FILE_NAME)
                _ = (
                    pipeline
                    | f"Read[{split}]" >> ReadSplit(builder, split, settings)
                    | f"Write[{split}]" >> beam.io.WriteToTFRecord(path, file_name_suffix=".gz")
                )


@beam.ptransform_fn
def ReadSplit(
    pipeline: beam.Pipeline, builder: tfds.core.DatasetBuilder, split: str, settings: IngestionSettings
) -> beam.PCollection:
    """Reads the files of one split of a prepared data set in parallel, as serialised tf.Examples, and counts them."""
    # TFDS's own check of the count is off, because it says neither which split nor what to do; ours is below.
    read_config = tfds.ReadConfig(add_tfds_id=True, assert_cardinality=False)
    examples = (
        pipeline
        | "ReadFromTFDS" >> tfds.beam.ReadFromTFDS(builder, split=split, read_config=read_config)
        | "AsNumPy" >> beam.Map(tfds.as_numpy)
        | "Convert" >> beam.Map(_convert, split, settings).with_output_types(bytes)
    )
    _ = (
        examples
        | "Count" >> beam.combiners.Count.Globally()
        | "CheckCount"
        >> beam.Map(
            check_count,
            split=split,
            expected=builder.info.splits[split].num_examples,
            settings=settings,
        )
    )
    return examples


def check_count(count: int, *, split: str, expected: int, settings: IngestionSettings) -> None:
    """Raises ValueError if a split does not have the number of examples that was prepared."""
    if count != expected:
        raise ValueError(
            f"{settings.data.address}, split {split!r}: its files hold {count} examples, but its dataset_info.json "
            f"says {expected}. The data set is damaged: delete its folder so that the next run prepares it anew."
        )


def _convert(features: dict[str, Any], split: str, settings: IngestionSettings) -> bytes:
    # Deterministic, so that two runs write the same bytes: a map has no order of its own.
    return to_example(features, split=split, settings=settings).SerializeToString(deterministic=True)
