"""Read the pipeline's tf.Examples: training batches are a function of the seed and the step alone."""

from __future__ import annotations

import contextlib
import functools
import gzip
import itertools
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.task import CLASSIFIER, Binarisation, ClassifyingTask, Task
from trainer.training import randomness

Batch = Any
"""Images for a generative task, (images, labels) for a classifier."""

_SHUFFLE_BYTES = 512 * 2**20
"""Greatest size of the shuffle buffer; a larger training split is shuffled within it."""


def count(files: Sequence[str]) -> int:
    """Count the examples in the files; raises ValueError when there is none, and names a file that is damaged."""
    records = _records(files)
    with _naming_damage(files):
        start = np.int64(0), np.int64(0)
        total, size = records.reduce(
            start, lambda seen, record: (seen[0] + 1, seen[1] + 16 + tf.cast(tf.strings.length(record), tf.int64))
        )
    # TensorFlow takes a file that ends within a record's header for a shorter one.
    if int(size) != sum(map(_unzipped_size, files)):
        for path in files:
            _check_whole(path)
    if not total:
        raise _no_examples(files)
    return int(total)


def training_batches(
    files: Sequence[str],
    task: Task,
    *,
    first_step: int,
    context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Build the endless stream of batches for steps `first_step`, `first_step` + 1, ...

    A batch is its images, [n, B, A, C] float32 in [0, 1]; for a classifier it is (images, labels), see `labels`.

    Step k holds examples k * batch_size onwards of the concatenation of all epochs, each shuffled by its own seed. A
    resumed run therefore sees the batches that the interrupted one would have seen. With several replicas each gets
    its slice of the global batch.

    Raises ValueError for files without examples and for a batch that the replicas cannot share equally.
    """
    batch, replicas = task.recipe.batch_size, context.num_replicas_in_sync if context else 1
    if batch % replicas:
        raise ValueError(f"recipe.batch_size is {batch}: it must be a multiple of the {replicas} replicas.")
    total = count(files)
    buffer = max(1, min(total, _SHUFFLE_BYTES // int(np.prod(task.stored_shape))))
    files = sorted(files)

    def epoch(index: tf.Tensor) -> tf.data.Dataset:
        # In this function's own graph, so that a global seed set elsewhere does not change the order.
        tf.compat.v1.set_random_seed(task.recipe.seed + 1)
        return _records(files).shuffle(buffer, seed=index, reshuffle_each_iteration=False)

    first_epoch, offset = divmod(first_step * batch, total)
    stream = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max).flat_map(epoch).skip(offset)
    batches = stream.batch(batch, drop_remainder=True).enumerate(first_step)

    def parsed(step: tf.Tensor, serialized: tf.Tensor) -> Batch:
        stored, _ = _stored(serialized, task)
        if any(task.data.crop_margin):
            stored = _crops(stored, randomness.crop_corners(task, step, batch), task)
        if task.data.horizontal_flip:
            mirrored = randomness.flips(task, step, batch)[:, None, None, None]
            stored = tf.where(mirrored, tf.reverse(stored, axis=[2]), stored)
        x = _pixels(stored, task.training_binarisation)
        # Static: the step takes the number of rows from the shape.
        x = tf.ensure_shape(x, [batch, *task.image_shape])
        if task.binarisation is Binarisation.STOCHASTIC_EACH_EPOCH:
            x = randomness.binarised(task, step, x)
        return (x, tf.ensure_shape(labels(serialized, task), [batch])) if task.kind.reads_labels else x

    batches = batches.map(parsed)
    if context is not None and replicas > 1:
        local = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * local

        def replica_batches(*values: tf.Tensor) -> tf.data.Dataset:
            slices = [tf.reshape(value, [replicas, batch // replicas, *value.shape[1:]]) for value in values]
            local_slices = tuple(value[first : first + local] for value in slices)
            return tf.data.Dataset.from_tensor_slices(local_slices if len(values) > 1 else local_slices[0])

        batches = batches.flat_map(replica_batches)
    # Without a known cardinality, a cluster's workers ask one another at each step whether all have more.
    batches = batches.apply(tf.data.experimental.assert_cardinality(tf.data.experimental.INFINITE_CARDINALITY))
    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = 1
    return batches.prefetch(4).with_options(options)


def evaluation_batches(files: Sequence[str], task: Task, examples: int) -> list[tuple[Batch, tf.Tensor]]:
    """Read the first `examples` examples: (batch, ids [n]) for each at most batch_size rows.

    Raises ValueError when there is none.
    """
    batches: list[tuple[Batch, tf.Tensor]] = []
    with _naming_damage(files):
        for serialized in _records(sorted(files)).take(examples).batch(task.recipe.batch_size):
            x, ids = images(serialized, task)
            batches.append(((x, labels(serialized, task)) if task.kind.reads_labels else x, ids))
    if not batches:
        raise _no_examples(files)
    return batches


def images(serialized: tf.Tensor, task: Task) -> tuple[tf.Tensor, tf.Tensor]:
    """Parse serialized tf.Examples [n] for evaluation: images [n, B, A, C] float32 in [0, 1], and ids [n].

    Raises as `parse` does.
    """
    raw, ids = parse(serialized, task)
    return _pixels(raw, Binarisation.GIVEN if task.binary else Binarisation.NONE), ids


def labels(serialized: tf.Tensor, task: Task) -> tf.Tensor:
    """Parse the labels of serialized tf.Examples [n] for a classifier: [n] int64.

    Raises InvalidArgumentError where the feature is missing or a label is none of the task's classes.
    """
    assert isinstance(task, ClassifyingTask), task.name
    values = tf.io.parse_example(serialized, {"label": tf.io.FixedLenFeature([], tf.int64)})["label"]
    message = f"Feature `label` must be one of the classes 0 to {task.classes - 1}; it is"
    known = tf.reduce_all(tf.logical_and(values >= 0, values < task.classes))
    with tf.control_dependencies([tf.debugging.Assert(known, [message, values])]):
        return tf.identity(values)


def all_arrays(files: Sequence[str], task: Task) -> dict[str, np.ndarray]:
    """Read whole files, in order: `images`, uint8 [examples, B, A, C] as ingestion wrote them.

    A classifier gets `labels` too, int32 [examples]. Raises ValueError when there is no example.
    """
    parts: dict[str, list[np.ndarray]] = {"images": []}
    if task.kind.reads_labels:
        parts["labels"] = []
    for serialized in _records(sorted(files)).batch(1_000):
        parts["images"].append(parse(serialized, task)[0].numpy())
        if task.kind.reads_labels:
            parts["labels"].append(labels(serialized, task).numpy().astype(np.int32))
    if not parts["images"]:
        raise _no_examples(files)
    return {name: np.concatenate(values) for name, values in parts.items()}


def parse(serialized: tf.Tensor, task: Task) -> tuple[tf.Tensor, tf.Tensor]:
    """Parse serialized tf.Examples [n] to raw images, uint8 [n, B, A, C], and ids [n].

    Takes the centre of larger images; an odd margin loses its odd row or column at the bottom or on the right.

    Raises InvalidArgumentError where a feature is missing or an image has another number of bytes than the task's.
    """
    stored, ids = _stored(serialized, task)
    top, left = (margin // 2 for margin in task.data.crop_margin)
    rows, columns, _ = task.image_shape
    return stored[:, top : top + rows, left : left + columns], ids


def _stored(serialized: tf.Tensor, task: Task) -> tuple[tf.Tensor, tf.Tensor]:
    """Parse serialized tf.Examples [n] to images, uint8 [n, *stored_shape], and ids [n]."""
    # A classifier draws no noise, so its callers need not make up an id.
    absent = "" if task.kind is CLASSIFIER else None
    features = tf.io.parse_example(
        serialized,
        {"image": tf.io.FixedLenFeature([], tf.string), "id": tf.io.FixedLenFeature([], tf.string, absent)},
    )
    size = int(np.prod(task.stored_shape))
    lengths = tf.strings.length(features["image"])
    message = f"Feature `image` must hold {size} bytes, one a pixel of {task.stored_shape}, row by row; it holds"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(lengths == size), [message, lengths])]):
        raw = tf.io.decode_raw(features["image"], tf.uint8, fixed_length=None)
    return tf.reshape(raw, [-1, *task.stored_shape]), features["id"]


def _crops(stored: tf.Tensor, corners: tf.Tensor, task: Task) -> tf.Tensor:
    """Crop each image [n, *stored_shape] with its top left pixel at its corner [n, 2]: [n, B, A, C]."""
    rows, columns, _ = task.image_shape
    x = tf.gather(stored, corners[:, :1] + tf.range(rows), axis=1, batch_dims=1)
    return tf.gather(x, corners[:, 1:] + tf.range(columns), axis=2, batch_dims=1)


def _records(files: Sequence[str]) -> tf.data.Dataset:
    if not files:
        raise ValueError("No file of examples was given: has the ingestion run?")
    records = [
        tf.data.TFRecordDataset(list(group), compression_type="GZIP" if zipped else None)
        for zipped, group in itertools.groupby(files, lambda path: path.endswith(".gz"))
    ]
    return functools.reduce(lambda first, second: first.concatenate(second), records)


@contextlib.contextmanager
def _naming_damage(files: Sequence[str]) -> Iterator[None]:
    """Raise ValueError with the first file that cannot be read, where TensorFlow names none."""
    try:
        yield
    except tf.errors.OpError as error:
        for path in sorted(files):
            try:
                _records([path]).reduce(np.int64(0), lambda count, _: count + 1)
            except tf.errors.OpError as damage:
                raise _damaged(path, _without_node(damage.message)) from error
        raise


def _unzipped_size(path: str) -> int:
    """Size of a file's records; of a compressed one as its last four bytes say, so of 4 GiB and of one part."""
    size = int(tf.io.gfile.stat(path).length)
    if not path.endswith(".gz"):
        return size
    if size < 20:  # Nothing, compressed.
        raise _damaged(path, f"it ends after {size} bytes, within the head of a compressed file")
    with tf.io.gfile.GFile(path, "rb") as file:
        file.seek(size - 4)
        return int.from_bytes(file.read(4), "little")


def _check_whole(path: str) -> None:
    """Raise ValueError where a file ends within a record."""
    with tf.io.gfile.GFile(path, "rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw
        try:
            while header := file.read(12):
                left = int.from_bytes(header[:8], "little") + 4 if len(header) == 12 else 1
                while left and (part := file.read(min(left, 2**20))):
                    left -= len(part)
                if left:
                    raise _damaged(path, "it ends within a record")
        except (EOFError, OSError, zlib.error) as error:
            raise _damaged(path, str(error)) from error


def _without_node(message: str) -> str:
    """Cuts the graph's node out of a message of TensorFlow."""
    return re.sub(r"^(\{\{.*?\}\} )+|( \[\[| \[Op:).*", "", message.splitlines()[0])


def _damaged(path: str, problem: str) -> ValueError:
    return ValueError(
        f"{path} cannot be read as examples: {problem}. Bring back a sound copy of the file, or make the examples anew."
    )


def _no_examples(files: Sequence[str]) -> ValueError:
    return ValueError(f"There are no examples in {', '.join(sorted(files))}: has the ingestion run?")


def _pixels(images: tf.Tensor, binarisation: Binarisation) -> tf.Tensor:
    """Convert uint8 images to float32 in [0, 1]: 0 and 1 stay, intensities are divided by 255."""
    x = tf.cast(images, tf.float32)
    return x / 255 if binarisation is Binarisation.NONE else x
