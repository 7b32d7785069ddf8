"""Ingests a user's own images: reads them once, writes a split each, and decides whether too many could not be used."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import tensorflow as tf
from tfx.components.example_gen import write_split
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from components.image_example_gen.image_names import TFDS_SCHEME, ImageNames, black_images, survey
from components.image_example_gen.ingestion_settings import IngestionSettings
from components.image_example_gen.prepared_dataset import open_dataset
from components.image_example_gen.read_images import Converter, Read, ReadFiles, ReadTfds
from serving.file_systems import connect
from serving.images.image_elements import Rejected, printable_id, printable_path
from serving.images.input_files import LINK_TO_FOLDER, NO_FILE
from serving.images.reading import REJECTED
from trainer.task import ImageFiles

REJECTED_FILE = "rejected.jsonl"
"""In the artifact: the images that are not used, and why."""
SUMMARY_FILE = "summary.json"

_FILES_A_BUCKET = 200
_MAX_BUCKETS = 4096
_NAMED = 10
"""Rejected images that a message names."""
_LOG = logging.getLogger(__name__)

MakePipeline = Callable[[], beam.Pipeline]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """The images of a task, before any of them is read."""

    transform: beam.PTransform
    names: ImageNames
    pictures: int | None = None
    """How many images there are to be, where each file is one."""
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """How many files are not read, by the reason."""


def ingest_images(
    settings: IngestionSettings, make_pipeline: MakePipeline, beam_arguments: Iterable[str], uri: str
) -> None:
    """Writes the splits, REJECTED_FILE and SUMMARY_FILE below `uri`.

    Raises ValueError if there are no images, more than `data.max_bad` of them cannot be used, or a split or a class
    would have none. What could not be used is kept beside the artifact then, which TFX deletes.
    """
    data = settings.data
    assert isinstance(data, ImageFiles)
    source = _open(settings, data, list(beam_arguments))
    work = os.path.join(uri, "work")
    with make_pipeline() as pipeline:
        read = pipeline | source.transform
        for split in settings.binarisation:
            _ = (
                read["images"]
                | f"Examples[{split}]" >> beam.FlatMap(_examples, split).with_output_types(bytes)
                | f"Write[{split}]" >> beam.io.WriteToTFRecord(_split_path(uri, split), file_name_suffix=".gz")
            )
        counts = read["images"] | "Kinds" >> beam.FlatMap(_kinds) | _CountEach()
        _ = counts | "WriteCounts" >> _WriteJson(os.path.join(work, "counts"))
        duplicates = (
            read["images"]
            | "Digests" >> beam.FlatMap(lambda images: [(image.digest, (image.split, image.id)) for image in images])
            | "Alike" >> beam.GroupByKey()
            | "Duplicates" >> beam.FlatMap(_duplicates, _precedence(data))
            | "ListDuplicates" >> beam.combiners.ToList()
        )
        _ = duplicates | "WriteDuplicates" >> _WriteJson(os.path.join(work, "duplicates"))
        rejected = read[REJECTED]
        _ = (
            rejected
            | "Line" >> beam.Map(_as_line)
            | "WriteRejected" >> beam.io.WriteToText(os.path.join(uri, REJECTED_FILE), shard_name_template="")
        )
        _ = (
            rejected
            | "Rows" >> beam.Map(lambda image: 1 if image.rows is None else image.rows)
            | "CountRejected" >> beam.CombineGlobally(sum)
            | "WriteRejectedCount" >> _WriteJson(os.path.join(work, "rejected"))
        )
    _finish(settings, data, source, uri, work)


def _open(settings: IngestionSettings, data: ImageFiles, beam_arguments: list[str]) -> Source:
    if not data.images.startswith(TFDS_SCHEME):
        connect([data.images], beam_arguments)
        found = survey(data)
        _check_classes(settings, found.names)
        buckets = min(_MAX_BUCKETS, 16 + found.files // _FILES_A_BUCKET)
        transform = ReadFiles(found.inputs, Converter(settings, found.names), buckets=buckets)
        pictures = found.files if found.are_pictures else None
        return Source(transform=transform, names=found.names, pictures=pictures, passed_over=found.passed_over)
    builder_name = data.images.removeprefix(TFDS_SCHEME)
    builder = open_dataset(builder_name, data.training_splits, settings.data_dir, beam_arguments)
    present = sorted({*data.splits} & set(builder.info.splits))
    names = ImageNames(
        splits=(data.train, data.validation, data.test),
        present=frozenset(present),
        prefix=(),
        class_names=data.class_names,
    )
    return Source(transform=ReadTfds(builder, present, Converter(settings, names)), names=names)


def _check_classes(settings: IngestionSettings, names: ImageNames) -> None:
    classes = settings.classes
    if classes is not None and names.class_names and len(names.class_names) != classes:
        shown = ", ".join(names.class_names[:20])
        raise ValueError(
            f"The images are in {len(names.class_names)} folders of classes ({shown}), and the task has {classes} "
            "classes. Correct classes or data.class_names in the task, or the folders."
        )


def _finish(settings: IngestionSettings, data: ImageFiles, source: Source, uri: str, work: str) -> None:
    counts: collections.Counter[tuple[str, int | None]] = collections.Counter()
    black = 0
    for split, label, is_black, count in _read_json(work, "counts"):
        counts[split, label] += count
        black += count if is_black else 0
    duplicates: list[tuple[str, str]] = [(split, identity) for split, identity in _read_json(work, "duplicates")]
    rejected = int(_read_json(work, "rejected"))
    fileio.rmtree(work)
    used = sum(counts.values())
    # Files that were there at first and were not listed any more when the workers listed them.
    vanished = 0 if source.pictures is None else max(0, source.pictures - used - rejected)
    _check_rejected(data, used, rejected, vanished, uri)
    if black == used:
        raise ValueError(black_images(data.images))
    # Of two images that are the same, one would be judged that was trained on.
    for split, ids in _by_split(duplicates).items():
        for label, removed in _remove(os.path.dirname(_split_path(uri, split)), ids).items():
            counts[split, label] -= removed
    per_split = {split: sum(count for (of, _), count in counts.items() if of == split) for split in data.splits}
    per_class = _per_class(settings, source.names, counts)
    try:
        _check_splits(data, per_split, len(duplicates))
        _check_training_classes(data, per_class)
    except ValueError as error:
        if not rejected:
            raise
        raise ValueError(f"{error} {rejected:,} could not be used: {_keep_rejected(uri)} says why.") from error
    summary = {
        "images": data.images,
        "splits": per_split,
        "classes": per_class,
        "rejected": rejected,
        "vanished": vanished,
        "duplicates_removed": len(duplicates),
        "passed_over": dict(source.passed_over),
    }
    io_utils.write_string_file(os.path.join(uri, SUMMARY_FILE), json.dumps(summary, indent=2) + "\n")
    if rejected:
        _LOG.warning("%s", f"{rejected:,} images are not used: {os.path.join(uri, REJECTED_FILE)} says why.")
    if vanished:
        _LOG.warning("%s", f"{vanished:,} images vanished while the others were read.")
    for reason in (LINK_TO_FOLDER, NO_FILE):
        if count := source.passed_over.get(reason):
            _LOG.warning("%s", f"{count:,} files are not read: {reason}.")
    if duplicates:
        _LOG.warning("%s", f"{len(duplicates):,} images are left out, for the same are in a split that judges.")


def _check_rejected(data: ImageFiles, used: int, rejected: int, vanished: int, uri: str) -> None:
    lost = rejected + vanished
    total = used + lost
    if not total:
        raise ValueError(f"data.images is {data.images}, and there is no image.")
    if used and lost <= data.max_bad * total:
        return
    kept = _keep_rejected(uri)
    with fileio.open(kept) as file:
        first = [json.loads(line) for line in itertools.islice(file, _NAMED)]
    lines = [f"  {printable_path(each['path'])}: {each['reason']}" for each in first]
    if vanished:
        lines.append(f"  {vanished:,} vanished from {data.images} while the others were read")
    share = f"{lost / total:.1%}" if used else "all"
    raise ValueError(
        f"{lost:,} of {total:,} images cannot be used ({share}; data.max_bad allows {data.max_bad:.1%}):\n"
        + "\n".join(lines)
        + f"\nMend or remove them, correct the task, or allow more with data.max_bad. All of them are in {kept}"
    )


def _keep_rejected(uri: str) -> str:
    """Copies the list to beside the artifact, which TFX deletes when the execution fails; returns where it is."""
    kept = uri.rstrip("/") + "-" + REJECTED_FILE
    fileio.copy(os.path.join(uri, REJECTED_FILE), kept, overwrite=True)
    return kept


def _check_splits(data: ImageFiles, per_split: Mapping[str, int], duplicates: int) -> None:
    total = sum(per_split.values())
    for split, count in per_split.items():
        if not count:
            shown = ", ".join(f"{name} {number:,}" for name, number in per_split.items())
            if duplicates:
                shown += f", after {duplicates:,} were left out that are in a split that judges too, pixel by pixel"
            raise ValueError(
                f"There is no image in split {split!r}: {total:,} {'image is' if total == 1 else 'images are'} divided "
                f"as {shown}. Give more images, or divide them yourself, into folders {', '.join(per_split)}."
            )


def _check_training_classes(data: ImageFiles, per_class: Mapping[str, Mapping[str, int]]) -> None:
    missing = [name for name, splits in per_class.items() if not splits.get(data.train)]
    if missing:
        raise ValueError(
            f"No training image has the class {', '.join(missing[:20])}: a class needs some in {data.train!r}, and "
            "some in the splits that judge. Give more images of it, or leave it out of data.class_names."
        )
    for name, splits in per_class.items():
        if not splits.get(data.test):
            _LOG.warning("%s", f"No image of split {data.test!r} has the class {name}: nothing judges it.")


def _per_class(
    settings: IngestionSettings, names: ImageNames, counts: Mapping[tuple[str, int | None], int]
) -> dict[str, dict[str, int]]:
    """Counts the images of each class of a classifier, by split."""
    number = settings.classes
    if number is None:
        return {}
    title = dict(enumerate(names.class_names))
    return {
        title.get(label, str(label)): {split: count for (split, of), count in counts.items() if of == label and count}
        for label in range(number)
    }


def _precedence(data: ImageFiles) -> list[str]:
    """The splits from the one that keeps an image that several have."""
    return list(dict.fromkeys((data.test, data.validation, data.train)))


def _duplicates(alike: tuple[bytes, Iterable[tuple[str, bytes]]], precedence: list[str]) -> Iterator[tuple[str, str]]:
    """Yields split and id, in hexadecimal, of the images that another split has too and keeps."""
    places = list(alike[1])
    keeper = min((split for split, _ in places), key=precedence.index)
    yield from ((split, identity.hex()) for split, identity in places if split != keeper)


def _by_split(duplicates: Iterable[tuple[str, str]]) -> dict[str, set[bytes]]:
    ids: dict[str, set[bytes]] = {}
    for split, identity in duplicates:
        ids.setdefault(split, set()).add(bytes.fromhex(identity))
    return ids


def _remove(folder: str, ids: set[bytes]) -> dict[int | None, int]:
    """Writes the files of a split again without these ids; returns how many went, by label."""
    removed: dict[int | None, int] = {}
    for name in fileio.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.ExitStack() as stack:
            writer = stack.enter_context(tf.io.TFRecordWriter(path + ".new", "GZIP"))
            for record in tf.data.TFRecordDataset(path, "GZIP").as_numpy_iterator():
                features = tf.train.Example.FromString(record).features.feature
                if features["id"].bytes_list.value[0] in ids:
                    label = features["label"].int64_list.value[0] if "label" in features else None
                    removed[label] = removed.get(label, 0) + 1
                else:
                    writer.write(record)
        fileio.rename(path + ".new", path, overwrite=True)
    return removed


def _examples(images: list[Read], split: str) -> list[bytes]:
    return [image.example for image in images if image.split == split]


def _kinds(images: list[Read]) -> Iterable[tuple[tuple[str, int | None, bool], int]]:
    return collections.Counter((image.split, image.label, image.is_black) for image in images).items()


def _split_path(uri: str, split: str) -> str:
    return os.path.join(uri, f"Split-{split}", write_split.DEFAULT_FILE_NAME)


def _as_line(rejected: Rejected) -> str:
    values = {
        "path": rejected.place.path,
        "row": rejected.place.row,
        "id": None if rejected.id is None else printable_id(rejected.id),
        "rows": rejected.rows,
        "reason": rejected.reason,
    }
    return json.dumps(values)


class _CountEach(beam.PTransform):
    """Adds up ((split, label, is_black), count): a list of (split, label, is_black, count)."""

    def expand(self, pairs: beam.PCollection) -> beam.PCollection:
        """Adds up each, then lists."""
        return (
            pairs
            | "CountEach" >> beam.CombinePerKey(sum)
            | "Flat" >> beam.Map(lambda counted: (*counted[0], counted[1]))
            | "ListCounts" >> beam.combiners.ToList()
        )


class _WriteJson(beam.PTransform):
    """Writes the one element as JSON."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def expand(self, element: beam.PCollection) -> beam.PCollection:
        """Writes a file without a shard's number."""
        return element | beam.Map(json.dumps) | beam.io.WriteToText(self._path, shard_name_template="")


def _read_json(work: str, name: str) -> Any:
    with fileio.open(os.path.join(work, name)) as file:
        return json.loads(file.read())
