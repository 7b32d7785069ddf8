"""TFDS builder of `svhn`: the original images, cut to the house number and resized to 64 x 64."""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from components.datasets.svhn import house_number, part
from components.datasets.svhn.digit_struct import DigitStruct
from components.datasets.svhn.part import Part, Place

_LOG = logging.getLogger(__name__)

_SHARDS = {"validation": 1, "test": 1, "train": 10}
"""Files of each split: at most ten, for with Beam TFDS 4.9 sorts the lengths of files by their numbers as text.

The largest split is the last, for TFDS makes every split again with each one that follows it.
"""

_NO_IMAGE = "boxes without an image"


class Builder(tfds.core.ShardBasedBuilder):
    """Examples with `image` [64, 64, 3] uint8, `labels` and `boxes` of the digits, and `id`, such as extra/1234.png.

    The archives are read from TFDS's manual directory. All of them are checked before the first example is written.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Train and extra, less 4,701 for validation; test."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = "\n".join(
        [
            f"Get the three archives of full numbers (format 1) of {part.SITE} into the manual directory, here shown "
            "as MANUAL_DIR, or unpack them there into the folders train, extra and test:",
            *(f"  {part.fetch_command(name, Path('MANUAL_DIR'))}" for name in ("train", "extra", "test")),
        ]
    )
    VALIDATION_EXAMPLES = 4_701
    """The paper's number."""

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Image(shape=(house_number.SIDE, house_number.SIDE, 3)),
                    "labels": tfds.features.Sequence(tfds.features.ClassLabel(num_classes=10)),
                    "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
                }
            ),
            homepage=part.SITE,
            metadata=tfds.core.MetadataDict(),
        )

    def _download_and_prepare(
        self, dl_manager: tfds.download.DownloadManager, download_config: tfds.download.DownloadConfig | None = None
    ) -> None:
        # In the folder that TFDS renames at the end, where the workers see it too.
        scratch = Path(self.data_path) / "scratch"
        scratch.mkdir()
        super()._download_and_prepare(dl_manager, download_config)
        skipped = {split: self._skipped(scratch, split) for split in _SHARDS}
        self.info.metadata["skipped"] = skipped
        for split, counts in skipped.items():
            if counts:
                reasons = ", ".join(f"{count:,} for {reason}" for reason, count in sorted(counts.items()))
                _LOG.warning("svhn, split %s: images were skipped: %s.", split, reasons)
        shutil.rmtree(scratch)

    def _shard_iterators_per_split(self, dl_manager: tfds.download.DownloadManager) -> dict[str, list[Shard]]:
        scratch = Path(self.data_path) / "scratch"
        directory = Path(dl_manager.manual_dir)
        parts = {
            name: part.open_part(name, directory=directory, scratch=scratch) for name in ("train", "extra", "test")
        }
        records = {name: _records(name, opened, scratch) for name, opened in parts.items()}
        # By a fixed hash of the name, which shuffles the images of the two parts among each other as well.
        candidates = sorted(records["train"] + records["extra"])
        validation = self._validation(candidates)
        splits = {
            "train": candidates[validation:],
            "validation": candidates[:validation],
            "test": sorted(records["test"]),
        }
        return {split: _shards(split, splits[split], scratch) for split in _SHARDS}

    def _validation(self, candidates: Sequence[Record]) -> int:
        """Returns how many of the candidates it takes for VALIDATION_EXAMPLES usable images."""
        usable = 0
        for index, candidate in enumerate(candidates):
            if usable == self.VALIDATION_EXAMPLES:
                return index
            try:
                candidate.features()
            except house_number.Unusable:
                continue
            usable += 1
        raise ValueError(
            f"train and extra have {usable:,} images that can be used; more than the {self.VALIDATION_EXAMPLES:,} of "
            "the validation split are needed. The folders are not whole: unpack the archives again."
        )

    @staticmethod
    def _skipped(scratch: Path, split: str) -> dict[str, int]:
        total: collections.Counter[str] = collections.Counter()
        for path in scratch.glob(f"{split}*.skipped.json"):
            total.update(json.loads(path.read_text()))
        return dict(total)


@dataclasses.dataclass(frozen=True, order=True)
class Record:
    """The data that one example is made from; sorted by `digest`."""

    digest: str
    """SHA-256 of `name`."""
    name: str
    """The id: part and file."""
    place: Place = dataclasses.field(compare=False)
    struct_path: str = dataclasses.field(compare=False)
    row: int | None = dataclasses.field(compare=False)
    """Row in the part's digitStruct.mat; None if the image is not listed there."""

    def features(self) -> dict[str, Any]:
        """Makes the features of the example; raises Unusable if the image cannot become one."""
        digits = [] if self.row is None else _struct(self.struct_path).digits(self.row)
        return {"id": self.name, **house_number.features(self.place.read(), digits)}

    def to_json(self) -> str:
        """Writes JSON on one line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Inverts `to_json`."""
        values = json.loads(line)
        return cls(**{**values, "place": Place(**values["place"])})


@dataclasses.dataclass(frozen=True)
class Shard:
    """The examples of one file. TFDS calls it, in a Beam worker if there is a pipeline."""

    records_path: Path
    """A file with a record a line: a pipeline that holds all of them is too large for most runners."""

    def __call__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields pairs of id and features, and counts skipped images, in Beam and in a file beside the records."""
        skipped: collections.Counter[str] = collections.Counter()
        with self.records_path.open() as lines:
            for line in lines:
                record = Record.from_json(line)
                try:
                    features = record.features()
                except house_number.Unusable as error:
                    skipped[str(error)] += 1
                    tfds.beam.inc_counter(str(error), namespace="svhn_skipped")
                    continue
                yield record.name, features
        self.records_path.with_suffix(".skipped.json").write_text(json.dumps(skipped))


def _records(name: str, opened: Part, scratch: Path) -> list[Record]:
    """Makes a record for each image of a part, and counts boxes without an image."""
    rows = DigitStruct(opened.struct_path).rows()
    missing = len(rows.keys() - opened.images.keys())
    split = "test" if name == "test" else "train"
    (scratch / f"{split}-{name}.skipped.json").write_text(json.dumps({_NO_IMAGE: missing} if missing else {}))
    records = []
    for file_name, place in opened.images.items():
        example_id = f"{name}/{file_name}"
        digest = hashlib.sha256(example_id.encode()).hexdigest()
        records.append(Record(digest, example_id, place, str(opened.struct_path), rows.get(file_name)))
    return records


def _shards(split: str, records: Sequence[Record], scratch: Path) -> list[Shard]:
    """Writes the records to files, one for each file of examples."""
    count = min(_SHARDS[split], len(records))
    shards = []
    for index in range(count):
        path = scratch / f"{split}-{index}.records"
        with path.open("w") as file:
            for record in records[len(records) * index // count : len(records) * (index + 1) // count]:
                file.write(record.to_json() + "\n")
        shards.append(Shard(path))
    return shards


@functools.lru_cache(maxsize=3)
def _struct(path: str) -> DigitStruct:
    """Opens a part's boxes once in each process."""
    return DigitStruct(path)
